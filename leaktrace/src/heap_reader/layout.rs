//! Where glibc's malloc keeps what: data, by version.
//!
//! From `malloc/malloc.c` (`malloc_state`, `malloc_par`, `tcache_perthread_struct`, `tcache_entry`) and
//! `malloc/arena.c` (`heap_info`) at the tags glibc-2.26 to glibc-2.42, and at commit 04e750e75b73, from the weeks
//! before 2.43, of <https://sourceware.org/git/glibc.git>. Offsets are those of 64-bit Linux.
//!
//! Held against running programs chunk by chunk: Debian's 2.31, 2.36, 2.41 and 2.43. The others are as read.

use std::{fmt, ops::RangeInclusive};

/// A release of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

/// How a version writes its books.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The first version that does so.
    since: Version,
    pub(super) state: State,
    pub(super) heap_info: u64,
    /// Heaps of arenas are of four huge pages where malloc takes its memory in such.
    pub(super) heaps_of_huge_pages: bool,
    pub(super) tcache: Tcache,
    /// `PROTECT_PTR`: a pointer in a list of free blocks is mixed with the address that it stands at.
    pub(super) mixed_pointers: bool,
    pub(super) parameters: Parameters,
    /// What the size of an mmapped chunk leaves out.
    pub(super) mapped_header: u64,
    /// Bytes of such a one that the program cannot use.
    pub(super) mapped_overhead: u64,
}

/// `struct malloc_state`, one for each arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// None from 2.43 on.
    pub(super) fastbins: Option<usize>,
    pub(super) top: usize,
    pub(super) bins: usize,
    pub(super) next: usize,
    pub(super) system_mem: usize,
    pub(super) size: usize,
}

/// `struct tcache_perthread_struct`, one for each thread that has freed or allocated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcache {
    pub(super) counts: Counts,
    pub(super) bins: usize,
    pub(super) key: Key,
}

/// What stands before the lists, one number for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// A byte: blocks in the list.
    Bytes,
    /// Two bytes: blocks in the list.
    Words,
    /// Two bytes: blocks that may still be added.
    Slots,
}

/// What marks a block as being in such a list, in its second word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    None,
    /// The address of the thread's structure.
    Own,
    /// A random number, the same for all, in the variable `tcache_key`.
    Random,
}

/// `struct malloc_par`, of which there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) huge_page: Option<usize>,
    /// The first of `n_mmaps`, `n_mmaps_max` and `max_n_mmaps`.
    pub(super) mmaps: usize,
    pub(super) mmapped_mem: usize,
    pub(super) sbrk_base: usize,
    /// The first of `tcache_bins`, `tcache_max_bytes` and `tcache_count`.
    pub(super) tcache: usize,
    pub(super) size: usize,
}

/// Chunks of `fastbinsY`, of bins (without the one that does not exist), and of `binmap`.
pub(super) const FASTBINS: usize = 10;
pub(super) const BINS: usize = 127;
const BINMAP_BYTES: usize = 16;

/// Largest request that goes into one of the lists of one size each.
pub(super) const SMALL_TCACHE_BINS: usize = 64;

/// The newest that was read.
pub(super) const NEWEST: Version = Version { major: 2, minor: 43 };

const fn state(fastbins: Option<usize>, top: usize) -> State {
    let bins = top + 16;
    let next = bins + BINS * 16 + BINMAP_BYTES;
    State { fastbins, top, bins, next, system_mem: next + 24, size: next + 40 }
}

const fn parameters(huge_page: Option<usize>, mmaps: usize, mmapped_mem: usize) -> Parameters {
    let sbrk_base = mmapped_mem + 16;
    Parameters { huge_page, mmaps, mmapped_mem, sbrk_base, tcache: sbrk_base + 8, size: sbrk_base + 40 }
}

const fn since(minor: u32) -> Version {
    Version { major: 2, minor }
}

const V26: Layout = Layout {
    since: since(26),
    state: state(Some(8), 88),
    heap_info: 32,
    heaps_of_huge_pages: false,
    tcache: Tcache { counts: Counts::Bytes, bins: SMALL_TCACHE_BINS, key: Key::None },
    mixed_pointers: false,
    parameters: parameters(None, 40, 56),
    mapped_header: 0,
    mapped_overhead: 16,
};
const V27: Layout = Layout { since: since(27), state: state(Some(16), 96), ..V26 };
const V29: Layout = Layout { since: since(29), tcache: Tcache { key: Key::Own, ..V27.tcache }, ..V27 };
const V30: Layout =
    Layout { since: since(30), tcache: Tcache { counts: Counts::Words, ..V29.tcache }, ..V29 };
const V32: Layout = Layout { since: since(32), mixed_pointers: true, ..V30 };
const V34: Layout = Layout { since: since(34), tcache: Tcache { key: Key::Random, ..V32.tcache }, ..V32 };
const V35: Layout = Layout {
    since: since(35),
    heap_info: 48,
    heaps_of_huge_pages: true,
    parameters: parameters(Some(48), 60, 80),
    ..V34
};
const V42: Layout = Layout {
    since: since(42),
    heaps_of_huge_pages: false,
    tcache: Tcache { counts: Counts::Slots, bins: SMALL_TCACHE_BINS + 12, ..V35.tcache },
    ..V35
};
const V43: Layout = Layout {
    since: since(43),
    state: state(None, 8),
    parameters: parameters(Some(56), 68, 88),
    mapped_header: 16,
    mapped_overhead: 24,
    ..V42
};

/// Newest first.
const LAYOUTS: [Layout; 9] = [V43, V42, V35, V34, V32, V30, V29, V27, V26];

impl Layout {
    /// How this version does it; none for one that nobody has read.
    pub(super) fn of(version: Version) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.since <= version && version <= NEWEST)
    }

    /// Those that can be told apart by what they look like in memory, for programs that do not say their version.
    pub(super) fn told_by_shape() -> impl Iterator<Item = &'static Self> {
        LAYOUTS.iter().filter(|layout| layout.since >= V35.since)
    }

    /// Bytes of the chunk that a thread's structure is in: malloc gives 16 more where what is left would be too little for
    /// a chunk, and 2.43 rounds twice.
    pub(super) fn tcache_chunks(&self) -> RangeInclusive<u64> {
        let least = (self.tcache.size() as u64 + 8).next_multiple_of(16);
        least..=least + 16
    }
}

impl Tcache {
    /// Where the lists begin.
    pub(super) fn entries(&self) -> usize {
        self.bins * if self.counts == Counts::Bytes { 1 } else { 2 }
    }

    pub(super) fn size(&self) -> usize {
        self.entries() + self.bins * 8
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_s_structure_has_the_size_of_its_lists() {
        let least = |minor| *Layout::of(since(minor)).unwrap().tcache_chunks().start();
        assert_eq!([28, 31, 36, 42, 43].map(least), [0x250, 0x290, 0x290, 0x300, 0x300]);
    }

    #[test]
    fn versions_that_nobody_has_read_have_no_layout() {
        assert!(Layout::of(since(25)).is_none());
        assert!(Layout::of(since(44)).is_none());
        assert!(Layout::of(Version { major: 3, minor: 0 }).is_none());
        assert_eq!(Layout::of(since(33)).unwrap().since, since(32));
    }
}
