//! What malloc's memory is divided into.

use std::ops::RangeInclusive;

/// Bytes of a chunk's header; the program's pointer is behind it.
pub(super) const HEADER: u64 = 16;
/// No chunk of a program is smaller (`MINSIZE`).
pub(super) const SMALLEST: u64 = 32;
/// `PREV_INUSE`, `IS_MMAPPED`, `NON_MAIN_ARENA`.
pub(super) const PREVIOUS_IN_USE: u64 = 1;
pub(super) const MAPPED: u64 = 2;
pub(super) const NOT_MAIN: u64 = 4;

/// The size without the flags below it.
pub(super) fn size_of(field: u64) -> u64 {
    field & !7
}

/// The sizes of blocks, in bytes, that a chunk of this size is made for.
pub(super) fn requests_of(size: u64) -> RangeInclusive<u64> {
    // The next chunk's first word is the block's, too.
    let largest = size - HEADER + 8;
    if size <= SMALLEST { 0..=largest } else { largest - 15..=largest }
}

/// A piece of an allocator's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What malloc returned for it, or would return.
    pub address: u64,
    /// Bytes with the header.
    pub size: u64,
    /// Bytes that the program may use (`malloc_usable_size`).
    pub usable: u64,
    pub state: ChunkState,
    /// Of a mapping of its own, instead of an arena.
    pub mapped: bool,
}

/// Who a chunk belongs to just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkState {
    /// The program, or glibc for its own purposes.
    InUse,
    /// Free, in a thread's own lists.
    InTcache,
    /// Free, in an arena's lists of small chunks.
    InFastbin,
    /// Free, in a bin of an arena.
    InBin,
    /// Not given out yet: the end of an arena.
    Top,
}

/// Whether a block still belongs to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    Live,
    Free,
    Unknown(WhyUnknown),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyUnknown {
    /// In a part of an arena that could not be walked, see [`super::Look::unwalked`].
    NotWalked,
}

impl Chunk {
    pub(super) fn in_arena(header: u64, size: u64, state: ChunkState) -> Self {
        // The last word of a chunk lies in the next one's header.
        Self { address: header + HEADER, size, usable: size - HEADER / 2, state, mapped: false }
    }
}
