//! Finds malloc's variables by what they look like, so that no symbol is needed: `main_arena` is 127 pairs of pointers
//! that lead to themselves, or to a chunk that leads back; `mp_` has the heap's start beside its statistics.

use std::ops::Range;

use super::{
    arena::{self, Arena, HEAP_MAX},
    chunk,
    error::Misfit,
    layout::{BINS, Layout, SMALL_TCACHE_BINS},
    words::{half, pair, word},
};
use crate::process::ReadUser;

/// Of a static program all data is searched; more is none that was seen.
const LARGEST_DATA: u64 = 256 << 20;

/// Bins of a heap in use are empty for the most part: a run of zeros or of one pointer is no arena.
const SELF_POINTING: usize = 8;

/// Programs have no memory above, with 5 levels of page tables either.
const HIGHEST: u64 = 1 << 56;

/// Bytes of a block in a thread's lists: 4 MiB from 2.42 on.
const LARGEST_TCACHE: u64 = 8 << 20;

/// `MAX_TCACHE_COUNT`.
const LONGEST_TCACHE: u64 = 65_535;

/// Writable data as it was, with its addresses.
#[derive(Debug)]
pub(super) struct Data(Vec<(u64, Vec<u8>)>);

/// Where malloc's variables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) main_arena: u64,
    pub(super) parameters: u64,
}

/// What `mp_` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) huge_page: u64,
    pub(super) mmaps: u32,
    pub(super) mmapped_bytes: u64,
    pub(super) sbrk_base: u64,
}

impl Data {
    pub(super) fn read(memory: &impl ReadUser, ranges: &[Range<u64>]) -> Self {
        let read = |range: &Range<u64>| {
            let size = range.end.checked_sub(range.start).filter(|size| *size <= LARGEST_DATA)?;
            Some((range.start, memory.bytes(range.start, size as usize)?))
        };
        Self(ranges.iter().filter_map(read).collect())
    }

    /// Each word, its address, and the bytes from there on.
    fn words(&self) -> impl Iterator<Item = (u64, u64, &[u8])> {
        self.0.iter().flat_map(|(start, bytes)| {
            let words = bytes.as_chunks().0;
            words.iter().enumerate().map(move |(number, found)| {
                (start + number as u64 * 8, u64::from_ne_bytes(*found), &bytes[number * 8..])
            })
        })
    }

    /// Whether a variable has this value.
    pub(super) fn holds(&self, value: u64) -> bool {
        self.words().any(|(_, found, _)| found == value)
    }
}

/// # Errors
/// Nothing, or too much, looks like this version's variables.
pub(super) fn find(memory: &impl ReadUser, data: &Data, layout: &Layout) -> Result<Found, Misfit> {
    let starts: Vec<u64> = data
        .words()
        .filter(|(at, first, bytes)| are_bins(memory, *at, *first, bytes))
        .filter_map(|(at, ..)| at.checked_sub(layout.state.bins as u64))
        .collect();
    let closed: Vec<u64> =
        starts.iter().copied().filter(|start| arena::ring(memory, layout, *start).is_ok()).collect();
    let main_arena = match (&closed[..], &starts[..]) {
        ([found], _) => *found,
        ([], []) => return Err(Misfit::NoArena),
        ([], _) => return Err(Misfit::Ring),
        (many, _) => return Err(Misfit::ManyArenas(many.len())),
    };
    let main = Arena::read(memory, layout, main_arena).ok_or(Misfit::Unreadable)?;
    let found: Vec<u64> = data
        .words()
        .filter(|(_, _, bytes)| are_parameters(memory, bytes, layout, &main))
        .map(|(at, ..)| at)
        .collect();
    match found[..] {
        [parameters] => Ok(Found { main_arena, parameters }),
        [] => Err(Misfit::NoParameters),
        _ => Err(Misfit::ManyParameters(found.len())),
    }
}

/// Whether the bins of an arena begin here.
fn are_bins(memory: &impl ReadUser, at: u64, first: u64, bytes: &[u8]) -> bool {
    // Cheap, and true of nearly nothing: the first bin leads to itself or to a chunk.
    if first == 0 || !first.is_multiple_of(16) && first != at.wrapping_sub(16) {
        return false;
    }
    let (mut own, mut chunks) = (0, Vec::new());
    for bin in 0..BINS {
        let (Some(forward), Some(back)) = (word(bytes, bin * 16), word(bytes, bin * 16 + 8)) else {
            return false;
        };
        // Bins are used as chunks whose list pointers they are.
        let itself = (at + bin as u64 * 16).wrapping_sub(chunk::HEADER);
        match forward == itself && back == itself {
            true => own += 1,
            false if forward != 0 && back != 0 && forward.is_multiple_of(16) && back.is_multiple_of(16) => {
                chunks.push((itself, forward));
            }
            false => return false,
        }
    }
    // A running program moves chunks between the bins just now: most have to lead back, not all.
    let leads_back = |(itself, forward): &&(u64, u64)| {
        pair(memory, forward.wrapping_add(chunk::HEADER)).is_some_and(|(_, back)| back == *itself)
    };
    own >= SELF_POINTING && chunks.iter().filter(leads_back).count() * 4 >= chunks.len() * 3
}

fn are_parameters(memory: &impl ReadUser, bytes: &[u8], layout: &Layout, main: &Arena) -> bool {
    let places = &layout.parameters;
    let read = || {
        let sbrk_base = word(bytes, places.sbrk_base)?;
        let now = half(bytes, places.mmaps)?;
        let most = half(bytes, places.mmaps + 8)?;
        let bytes_now = word(bytes, places.mmapped_mem)?;
        let bytes_most = word(bytes, places.mmapped_mem + 8)?;
        let bins = word(bytes, places.tcache)?;
        let count = word(bytes, places.tcache + 16)?;
        let huge = places.huge_page.map_or(Some(0), |at| word(bytes, at))?;
        // `mmap_threshold`, `arena_test` and `tcache_max_bytes`: whatever a user sets them to, malloc bounds them.
        let (threshold, arenas) = (word(bytes, 16)?, word(bytes, 24)?);
        let largest = word(bytes, places.tcache + 8)?;
        let fits = threshold <= HEAP_MAX / 2
            && (1..=u64::from(u16::MAX)).contains(&arenas)
            && largest <= LARGEST_TCACHE
            && (bins == 0) == (largest == 0)
            && (1..=HIGHEST).contains(&sbrk_base)
            && now <= most
            && bytes_now <= bytes_most
            && (now == 0) == (bytes_now == 0)
            && bytes_now.is_multiple_of(4096)
            && bins <= SMALL_TCACHE_BINS as u64
            && count <= LONGEST_TCACHE
            && (huge == 0 || huge.is_power_of_two());
        // Asked last, as it reads: the main arena's first chunk.
        let (_, size) = fits.then(|| pair(memory, first_chunk(sbrk_base)))??;
        let length = chunk::size_of(size);
        Some(
            size & chunk::PREVIOUS_IN_USE != 0
                && length.is_multiple_of(16)
                && (chunk::SMALLEST..=main.system_bytes).contains(&length),
        )
    };
    read().unwrap_or(false)
}

/// Where the main arena's memory begins. Programs may call sbrk before malloc does, so the base need not lie at a
/// page's start.
pub(super) fn first_chunk(sbrk_base: u64) -> u64 {
    sbrk_base.next_multiple_of(16)
}

impl Parameters {
    pub(super) fn read(memory: &impl ReadUser, layout: &Layout, address: u64) -> Option<Self> {
        let places = &layout.parameters;
        let bytes = memory.bytes(address, places.size)?;
        Some(Self {
            huge_page: places.huge_page.map_or(Some(0), |at| word(&bytes, at))?,
            mmaps: half(&bytes, places.mmaps)?,
            mmapped_bytes: word(&bytes, places.mmapped_mem)?,
            sbrk_base: word(&bytes, places.sbrk_base)?,
        })
    }
}
