//! The mappings of one process that were made while it was traced, as an interval map.
//!
//! - What is unmapped may be any part of any mappings: they are cut exactly, and what is left keeps its stack
//!   and birth. Freed bytes grow with each cut; the mapping counts as freed when its last piece goes.
//! - A new mapping over an older one ends the older one there (`MAP_FIXED`, or an unmap that was missed).
//! - `mremap` is an unmap of the old range and a new mapping that belongs to its caller, like `realloc`.
//! - Calls of two threads can arrive in the other order than the kernel did them: a thread that unmapped may be
//!   late to say so, when another was already given the same addresses. So an unmap ends only mappings that
//!   had returned before it entered, and of two mappings the one that returned later stands.
//!
//! Limits: bytes are whole pages of address space, whether touched or not, and a mapping of huge pages that is
//! unmapped by a length which is not a multiple of theirs is kept at its rest.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use leaktrace_common::{hook::Shape, stack::StackId};

use super::{Live, LiveBlock, Totals};
use crate::event::Region;

/// `mremap` leaves the old range mapped, `linux/mman.h`.
const MREMAP_DONTUNMAP: u32 = 4;

/// A mapping as it was made, however many pieces are left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number(u64);

#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    number: Number,
}

#[derive(Clone, Copy, Debug)]
struct Whole {
    stack: StackId,
    born: u64,
    /// Bytes of its pieces.
    left: u64,
}

#[derive(Debug)]
pub struct Regions {
    page: u64,
    /// By first address; pieces never overlap.
    pieces: BTreeMap<u64, Piece>,
    wholes: BTreeMap<Number, Whole>,
    totals: HashMap<StackId, Totals>,
    next: Number,
    unknown_bytes: u64,
}

impl Regions {
    /// `page` is the size in bytes of the machine's pages, a power of two.
    #[must_use]
    pub fn new(page: u64) -> Self {
        Self {
            page,
            pieces: BTreeMap::new(),
            wholes: BTreeMap::new(),
            totals: HashMap::new(),
            next: Number(0),
            unknown_bytes: 0,
        }
    }

    pub fn apply(&mut self, region: &Region) {
        let Region {
            shape, flags, address, length, old_address, old_length, stack, entered, returned, ..
        } = *region;
        match shape {
            Shape::Unmap => self.unmap(self.pages(address, length), entered),
            Shape::Map => self.map(self.pages(address, length), stack, returned),
            Shape::Remap => {
                // An old length of 0 makes a second mapping of shared memory and leaves the first.
                if flags & MREMAP_DONTUNMAP == 0 && old_length > 0 {
                    self.unmap(self.pages(old_address, old_length), entered);
                }
                self.map(self.pages(address, length), stack, returned);
            }
            // `decode` lets no other shape through, and no other one is a mapping call.
            _ => {}
        }
    }

    /// What is left of each mapping.
    pub fn live(&self) -> impl Iterator<Item = (StackId, LiveBlock)> {
        self.wholes
            .values()
            .map(|whole| (whole.stack, LiveBlock { size: whole.left, born: whole.born, address: 0 }))
    }

    pub fn totals(&self) -> impl Iterator<Item = (StackId, Totals)> {
        self.totals.iter().map(|(stack, totals)| (*stack, *totals))
    }

    /// Bytes that were unmapped and never seen mapped: from before tracing, or of a call that was lost.
    #[must_use]
    pub const fn unknown_bytes(&self) -> u64 {
        self.unknown_bytes
    }

    /// The address space is gone: forgets every mapping and says what was live. Totals stay.
    pub fn clear(&mut self) -> Live {
        let live = self.live().map(|(_, block)| block).collect();
        self.pieces.clear();
        self.wholes.clear();
        live
    }

    fn pages(&self, address: u64, length: u64) -> Range<u64> {
        let mask = self.page - 1;
        let end = address.saturating_add(length).saturating_add(mask) & !mask;
        (address & !mask)..end
    }

    fn map(&mut self, range: Range<u64>, stack: StackId, born: u64) {
        if range.is_empty() {
            return;
        }
        let bytes = range.end - range.start;
        let number = self.next;
        self.next = Number(number.0 + 1);
        let totals = self.totals.entry(stack).or_default();
        totals.allocs += 1;
        totals.alloc_bytes += bytes;
        self.wholes.insert(number, Whole { stack, born, left: bytes });

        let cut = self.cut(&range, |other| other.born <= born);
        let mut start = range.start;
        for newer in cut.kept {
            self.place(start..newer.start, number);
            self.release(number, newer.end - newer.start);
            start = newer.end;
        }
        self.place(start..range.end, number);
    }

    fn unmap(&mut self, range: Range<u64>, entered: u64) {
        if range.is_empty() {
            return;
        }
        let cut = self.cut(&range, |other| other.born < entered);
        let newer: u64 = cut.kept.iter().map(|kept| kept.end - kept.start).sum();
        self.unknown_bytes += range.end - range.start - cut.released - newer;
    }

    fn place(&mut self, range: Range<u64>, number: Number) {
        if !range.is_empty() {
            self.pieces.insert(range.start, Piece { end: range.end, number });
        }
    }

    /// Releases `range` of every mapping that `ends` names.
    fn cut(&mut self, range: &Range<u64>, ends: impl Fn(&Whole) -> bool) -> Cut {
        let first = self.pieces.range(..range.start).next_back().filter(|(_, piece)| piece.end > range.start);
        let first = first.map_or(range.start, |(start, _)| *start);
        let touched: Vec<(u64, Piece)> =
            self.pieces.range(first..range.end).map(|(start, piece)| (*start, *piece)).collect();
        let mut cut = Cut { released: 0, kept: Vec::new() };
        for (start, piece) in touched {
            let part = start.max(range.start)..piece.end.min(range.end);
            if !self.wholes.get(&piece.number).is_none_or(&ends) {
                cut.kept.push(part);
                continue;
            }
            self.pieces.remove(&start);
            self.place(start..part.start, piece.number);
            self.place(part.end..piece.end, piece.number);
            self.release(piece.number, part.end - part.start);
            cut.released += part.end - part.start;
        }
        cut
    }

    fn release(&mut self, number: Number, bytes: u64) {
        let Some(whole) = self.wholes.get_mut(&number) else { return };
        let totals = self.totals.entry(whole.stack).or_default();
        totals.freed_bytes += bytes;
        whole.left -= bytes;
        if whole.left == 0 {
            totals.frees += 1;
            self.wholes.remove(&number);
        }
    }
}

struct Cut {
    /// Bytes.
    released: u64,
    /// The parts that stay, in rising order: what holds them is newer than the cut.
    kept: Vec<Range<u64>>,
}

#[cfg(test)]
mod tests;
