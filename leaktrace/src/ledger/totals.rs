//! The numbers kept per stack.

use leaktrace_common::{process::ProcessId, stack::StackId};

/// What a stack allocated and freed since tracing began. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    pub freed_bytes: u64,
}

impl Totals {
    /// What must be live by these numbers. The kernel's words are read one after the other while they change,
    /// so a free may be seen whose allocation is not.
    #[must_use]
    pub const fn live(&self) -> Live {
        Live {
            blocks: self.allocs.saturating_sub(self.frees),
            bytes: self.alloc_bytes.saturating_sub(self.freed_bytes),
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        let Self { allocs, alloc_bytes, frees, freed_bytes } = other;
        self.allocs += allocs;
        self.alloc_bytes += alloc_bytes;
        self.frees += frees;
        self.freed_bytes += freed_bytes;
    }
}

/// A number of blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub blocks: u64,
    pub bytes: u64,
}

impl Live {
    pub fn add(&mut self, block: LiveBlock) {
        self.blocks += 1;
        self.bytes += block.size;
    }
}

impl FromIterator<LiveBlock> for Live {
    fn from_iter<I: IntoIterator<Item = LiveBlock>>(blocks: I) -> Self {
        let mut live = Self::default();
        for block in blocks {
            live.add(block);
        }
        live
    }
}

/// A block of the heap, or what is left of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveBlock {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub born: u64,
    /// 0 for what is left of a mapping and for a sample: those are known by other means.
    pub address: u64,
}

/// A stack whose counters and whose blocks tell of different live memory. While the process runs the two are
/// read at different moments and may differ by what happened in between; at rest a difference is a bug or a
/// loss (the table of live blocks was full).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    pub process: ProcessId,
    pub stack: StackId,
    /// By the counters.
    pub counted: Live,
    /// By the blocks.
    pub listed: Live,
}
