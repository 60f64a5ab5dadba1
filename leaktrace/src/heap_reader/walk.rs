//! From chunk to chunk through a region, while the process goes on.
//!
//! A header says where the next one is. What is read may be a moment old, and the program may have merged chunks
//! meanwhile: then a header is what a block of data happens to hold. So each step is checked (sizes, flags, the copy of
//! a free chunk's size behind it), what was passed is held back for a while, and where a step does not fit the walk goes
//! back and reads again.

use std::{thread, time::Duration};

use super::{
    arena::{Arena, Region},
    chunk::{HEADER, MAPPED, NOT_MAIN, PREVIOUS_IN_USE, SMALLEST, size_of},
    layout::Layout,
    words::word,
};
use crate::process::ReadUser;

/// Chunks that are held back.
const HELD: usize = 8192;
/// Each try goes back twice as far as the one before, up to all that is held, and at two of them to the region's start:
/// what the walk began again from may itself have been merged and written over.
const TRIES: u32 = 20;
const FROM_THE_START: [u32; 2] = [14, 18];
/// Tries without a pause. A thread that is preempted while it divides a chunk leaves it so for as long as it waits for a
/// processor: the tries after these wait for it, 1 ms and then twice as long each time, up to 16 ms.
const AT_ONCE: u32 = 8;
const LONGEST_PAUSE: u32 = 4;

const PAGE: u64 = 4096;
/// Bytes at the end of a heap that is not its arena's last within which its closing mark begins: two headers and what
/// was too little for a chunk
/// (<https://sourceware.org/git/?p=glibc.git;a=blob;f=malloc/malloc.c;hb=refs/tags/glibc-2.36>, `sysmalloc`).
const MARK: u64 = 3 * HEADER;
/// Bytes read at once where chunk follows chunk. Behind a large one reading begins with a page, so that untouched pages
/// inside of it stay so.
const LARGEST_PIECE: u64 = 128 << 10;

/// A chunk by its header: whether it is in use by the mark in the next one, which those in threads' lists and fastbins
/// have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) header: u64,
    pub(super) size: u64,
    pub(super) in_use: bool,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the arena's top, of this many bytes.
    Top { header: u64, size: u64 },
    /// At the mark that glibc puts where its memory has a gap.
    Gap { at: u64 },
    /// What is here is no chunk.
    Lost { at: u64 },
}

enum Step {
    Chunk(Passed),
    End(End),
    Odd,
}

/// Walks regions of one process.
pub(super) struct Walk<'a, M> {
    memory: &'a M,
    layout: &'a Layout,
    /// What was read last: this much from `start` on.
    bytes: Vec<u8>,
    length: usize,
    start: u64,
    piece: u64,
    /// Times that the walk went back.
    pub(super) retries: u64,
}

impl<'a, M: ReadUser> Walk<'a, M> {
    pub(super) fn new(memory: &'a M, layout: &'a Layout) -> Self {
        let bytes = vec![0; LARGEST_PIECE as usize];
        Self { memory, layout, bytes, length: 0, start: 0, piece: PAGE, retries: 0 }
    }

    /// Hands out every chunk of a region but the top, by address.
    pub(super) fn region(&mut self, region: &Region, mut each: impl FnMut(Passed)) -> End {
        let mut region = *region;
        let mut held: Vec<Passed> = Vec::with_capacity(HELD);
        let mut at = region.first;
        let (mut tries, mut furthest) = (0, 0);
        // Begun again from the start, a walk passes what was handed out already.
        let mut handed = region.first;
        let mut each = |chunk: Passed| {
            if chunk.header >= handed {
                handed = chunk.header + chunk.size;
                each(chunk);
            }
        };
        self.forget();
        // Behind the top nothing is to be found.
        let (mut top, _) = self.top(&mut region).unwrap_or((u64::MAX, 0));
        let end = loop {
            if region.has_top && at >= top {
                let Some(now) = self.top(&mut region) else { break End::Lost { at } };
                top = now.0;
                if region.has_top && at >= top {
                    // Given back meanwhile: what was passed there is the top's now.
                    held.truncate(held.partition_point(|chunk| chunk.header < top));
                    break End::Top { header: top, size: now.1 - top };
                }
            }
            match self.step(at, &region) {
                Step::Chunk(chunk) => {
                    if held.len() == HELD {
                        held.drain(..HELD / 2).for_each(&mut each);
                    }
                    held.push(chunk);
                    at += chunk.size;
                    if at > furthest {
                        tries = 0;
                    }
                }
                Step::End(end) => break end,
                Step::Odd if tries == TRIES => break End::Lost { at },
                Step::Odd => {
                    (tries, furthest) = (tries + 1, furthest.max(at));
                    self.retries += 1;
                    self.forget();
                    if tries > AT_ONCE {
                        thread::sleep(Duration::from_millis(1 << (tries - AT_ONCE - 1).min(LONGEST_PAUSE)));
                    }
                    if FROM_THE_START.contains(&tries) {
                        held.clear();
                        at = region.first;
                    }
                    let back = 1usize << tries.min(13);
                    if let Some(chunk) = held.get(held.len().saturating_sub(back)) {
                        at = chunk.header;
                    }
                    held.truncate(held.len().saturating_sub(back));
                    top = self.top(&mut region).map_or(top, |now| now.0);
                }
            }
        };
        held.into_iter().for_each(&mut each);
        end
    }

    /// Where the arena's top is by now; the region ends where that does, or has it no longer.
    fn top(&self, region: &mut Region) -> Option<(u64, u64)> {
        if !region.has_top {
            return None;
        }
        let (top, end) = Arena::top_of(self.memory, self.layout, region.arena)?;
        match top >= region.first && (region.main || top - region.first < super::arena::HEAP_MAX) {
            true => region.end = end,
            // A heap of its own by now; this one ends with a mark.
            false => region.has_top = false,
        }
        Some((top, end))
    }

    fn step(&mut self, at: u64, region: &Region) -> Step {
        let Some((_, field)) = self.header(at, region.end) else { return Step::Odd };
        let size = size_of(field);
        // Data may look like a mark: what a torn walk finds in the middle of a heap is none.
        let ends = region.main || !region.has_top && region.end.saturating_sub(at) <= MARK;
        if size == HEADER && ends {
            return Step::End(End::Gap { at });
        }
        let behind = at.saturating_add(size);
        if size < SMALLEST || !size.is_multiple_of(16) || field & MAPPED != 0 || behind >= region.end {
            return Step::Odd;
        }
        let Some((previous, next)) = self.header(behind, region.end) else { return Step::Odd };
        if size_of(next) == 0 {
            // What was left of a top that was too small to be split.
            return if size == SMALLEST && ends { Step::End(End::Gap { at }) } else { Step::Odd };
        }
        let in_use = next & PREVIOUS_IN_USE != 0;
        let fits = match in_use {
            true => (field & NOT_MAIN == 0) == region.main,
            false => previous == size,
        };
        if fits { Step::Chunk(Passed { header: at, size, in_use }) } else { Step::Odd }
    }

    fn forget(&mut self) {
        (self.start, self.length, self.piece) = (0, 0, PAGE);
    }

    /// Both words of a header.
    fn header(&mut self, at: u64, end: u64) -> Option<(u64, u64)> {
        let inside = at.wrapping_sub(self.start);
        if inside >= self.length as u64 {
            let follows = inside < self.length as u64 + PAGE;
            self.piece = if follows { (self.piece * 2).min(LARGEST_PIECE) } else { PAGE };
            self.start = at & !(PAGE - 1);
            let left = end.next_multiple_of(PAGE).saturating_sub(self.start);
            // Its end may have been given back: then one page is enough.
            let lengths = [self.piece.min(left), PAGE].map(|length| length as usize);
            let read =
                lengths.into_iter().find(|length| self.memory.read(self.start, &mut self.bytes[..*length]));
            let Some(length) = read else {
                self.forget();
                return None;
            };
            self.length = length;
        }
        let bytes = &self.bytes[..self.length];
        let inside = at.checked_sub(self.start)? as usize;
        Some((word(bytes, inside)?, word(bytes, inside + 8)?))
    }
}
