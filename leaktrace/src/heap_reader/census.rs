//! What is in use, by size: counted while a heap is walked, nothing kept of single blocks.

use std::collections::BTreeMap;

use super::chunk::{Chunk, ChunkState};

/// Classes of one size each up to here; above, four for each doubling.
const FINE: u64 = 1024;
const PARTS: u64 = 4;

/// Blocks of like sizes, by their chunks' sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass {
    /// Least and largest bytes of a chunk.
    pub from: u64,
    pub to: u64,
}

/// A number of chunks and their bytes, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub chunks: u64,
    pub bytes: u64,
}

/// A heap by sizes and by who has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub in_use: BTreeMap<SizeClass, Amount>,
    /// Of what is in use: blocks with mappings of their own.
    pub mapped: Amount,
    pub in_tcaches: Amount,
    pub in_fastbins: Amount,
    pub in_bins: Amount,
    pub top: Amount,
}

impl SizeClass {
    #[must_use]
    pub fn of(size: u64) -> Self {
        if size <= FINE {
            return Self { from: size, to: size };
        }
        // Above a power of two, up to the next quarter of it.
        let power = (size - 1).ilog2();
        let step = (1 << power) / PARTS;
        let number = (size - 1 - (1 << power)) / step;
        let from = (1 << power) + number * step;
        Self { from: from + 16, to: from + step }
    }
}

impl Amount {
    fn add(&mut self, size: u64) {
        self.chunks += 1;
        self.bytes += size;
    }

    fn take(&mut self, size: u64) {
        // The running program may have changed what was counted.
        self.chunks = self.chunks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

impl Census {
    pub(super) fn count(&mut self, chunk: &Chunk) {
        let size = chunk.size;
        match chunk.state {
            ChunkState::InUse => self.in_use.entry(SizeClass::of(size)).or_default().add(size),
            ChunkState::InTcache => self.in_tcaches.add(size),
            ChunkState::InFastbin => self.in_fastbins.add(size),
            ChunkState::InBin => self.in_bins.add(size),
            ChunkState::Top => self.top.add(size),
        }
        if chunk.mapped {
            self.mapped.add(size);
        }
    }

    /// Of a chunk that was counted as in use.
    pub(super) fn correct(&mut self, chunk: &Chunk) {
        if let Some(amount) = self.in_use.get_mut(&SizeClass::of(chunk.size)) {
            amount.take(chunk.size);
        }
        self.count(chunk);
    }

    /// All that is in use.
    #[must_use]
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for amount in self.in_use.values() {
            total.chunks += amount.chunks;
            total.bytes += amount.bytes;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_leave_no_size_out_and_do_not_overlap() {
        let mut last = SizeClass::of(32);
        for size in (32..1 << 20).step_by(16) {
            let class = SizeClass::of(size);
            assert!((class.from..=class.to).contains(&size), "{size}: {class:?}");
            assert!(class == last || class.from == last.to + 16 || size == 32, "{last:?} {class:?}");
            last = class;
        }
        assert_eq!(SizeClass::of(1024), SizeClass { from: 1024, to: 1024 });
        assert_eq!(SizeClass::of(1040), SizeClass { from: 1040, to: 1280 });
        assert_eq!(SizeClass::of(2048), SizeClass { from: 1808, to: 2048 });
    }

    #[test]
    fn a_chunk_that_was_free_after_all_is_taken_off() {
        let chunk = |state| Chunk::in_arena(0, 48, state);
        let mut census = Census::default();
        census.count(&chunk(ChunkState::InUse));
        census.count(&chunk(ChunkState::InUse));
        census.correct(&chunk(ChunkState::InTcache));
        assert_eq!(census.total(), Amount { chunks: 1, bytes: 48 });
        assert_eq!(census.in_tcaches, Amount { chunks: 1, bytes: 48 });
    }
}
