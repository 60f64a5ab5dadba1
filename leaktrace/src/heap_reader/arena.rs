//! Arenas, and the memory that each has got from the kernel.

use super::{
    chunk::{self, HEADER},
    error::Misfit,
    find::{self, Parameters},
    layout::{FASTBINS, Layout},
    words::{pair, word},
};
use crate::process::ReadUser;

/// glibc makes eight for each processor at most, unless told otherwise.
const MOST_ARENAS: usize = 65_536;
/// Heaps of one arena, of 64 MiB each: 64 TiB.
const MOST_HEAPS: usize = 1 << 20;
/// `HEAP_MAX_SIZE`: heaps lie at multiples of it.
pub(super) const HEAP_MAX: u64 = 64 << 20;

/// What an arena says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arena {
    pub(super) address: u64,
    /// The chunk that has not been given out yet.
    pub(super) top: u64,
    pub(super) fastbins: [u64; FASTBINS],
    /// Bytes that it has got from the kernel.
    pub(super) system_bytes: u64,
    next: u64,
}

/// Memory of an arena without gaps: chunk after chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) arena: u64,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) main: bool,
    /// Its last chunk is the arena's top.
    pub(super) has_top: bool,
}

impl Arena {
    pub(super) fn read(memory: &impl ReadUser, layout: &Layout, address: u64) -> Option<Self> {
        let places = &layout.state;
        let bytes = memory.bytes(address, places.size)?;
        let mut fastbins = [0; FASTBINS];
        if let Some(at) = places.fastbins {
            for (number, head) in fastbins.iter_mut().enumerate() {
                *head = word(&bytes, at + number * 8)?;
            }
        }
        Some(Self {
            address,
            top: word(&bytes, places.top)?,
            fastbins,
            system_bytes: word(&bytes, places.system_mem)?,
            next: word(&bytes, places.next)?,
        })
    }

    /// Where its top is by now, and where that ends.
    pub(super) fn top_of(memory: &impl ReadUser, layout: &Layout, arena: u64) -> Option<(u64, u64)> {
        let (top, _) = pair(memory, arena + layout.state.top as u64)?;
        let (_, size) = pair(memory, top)?;
        Some((top, top.checked_add(chunk::size_of(size))?))
    }

    pub(super) fn regions(
        &self,
        memory: &impl ReadUser,
        layout: &Layout,
        main: bool,
        parameters: &Parameters,
    ) -> Result<Vec<Region>, Misfit> {
        // Before the first allocation the top is a bin: there is no memory.
        if (self.address..self.address + layout.state.size as u64).contains(&self.top) {
            return Ok(Vec::new());
        }
        let (top, end) = Self::top_of(memory, layout, self.address).ok_or(Misfit::Unreadable)?;
        if main {
            let first = find::first_chunk(parameters.sbrk_base);
            return Ok(vec![Region { arena: self.address, first, end, main, has_top: true }]);
        }
        let misfit = Misfit::Heap { arena: self.address };
        let largest = match parameters.huge_page {
            size if size > 0 && layout.heaps_of_huge_pages => size * 4,
            _ => HEAP_MAX,
        };
        let mut regions = Vec::new();
        let mut heap = top & !(largest - 1);
        let mut has_top = true;
        while heap != 0 && regions.len() < MOST_HEAPS {
            let (arena, previous) = pair(memory, heap).ok_or(misfit)?;
            let (size, _) = pair(memory, heap + HEADER).ok_or(misfit)?;
            if arena != self.address || size > largest || !size.is_multiple_of(4096) {
                return Err(misfit);
            }
            let behind_info = heap + layout.heap_info;
            let first = match previous {
                // The first heap begins with the arena itself.
                0 if behind_info != self.address => return Err(misfit),
                0 => (behind_info + layout.state.size as u64).next_multiple_of(16),
                _ => behind_info,
            };
            let end = if has_top { end } else { heap + size };
            regions.push(Region { arena, first, end, main, has_top });
            (heap, has_top) = (previous, false);
        }
        regions.reverse();
        Ok(regions)
    }
}

/// All arenas, the main one first.
///
/// # Errors
/// The ring does not lead back to the main one.
pub(super) fn ring(memory: &impl ReadUser, layout: &Layout, main: u64) -> Result<Vec<Arena>, Misfit> {
    let mut arenas = Vec::new();
    let mut address = main;
    while arenas.len() < MOST_ARENAS {
        let arena = Arena::read(memory, layout, address).ok_or(Misfit::Ring)?;
        if arena.top == 0 || !arena.top.is_multiple_of(16) || !address.is_multiple_of(8) {
            return Err(Misfit::Ring);
        }
        address = arena.next;
        arenas.push(arena);
        if address == main {
            return Ok(arenas);
        }
    }
    Err(Misfit::Ring)
}
