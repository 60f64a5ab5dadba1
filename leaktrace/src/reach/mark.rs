//! The mark itself: from words that were read to blocks that are reached. Pure: what is read comes from outside.

use super::blocks::Blocks;

/// Which blocks have been reached, and which of those have still to be read.
#[derive(Debug)]
pub(super) struct Mark<'a> {
    blocks: &'a Blocks,
    reached: Vec<bool>,
    pending: Vec<u32>,
    /// Reached since [`Self::again`].
    fresh: usize,
}

impl<'a> Mark<'a> {
    pub(super) fn new(blocks: &'a Blocks) -> Self {
        Self { blocks, reached: vec![false; blocks.len()], pending: Vec::new(), fresh: 0 }
    }

    pub(super) fn reach(&mut self, block: usize) {
        if !std::mem::replace(&mut self.reached[block], true) {
            self.pending.push(block as u32);
            self.fresh += 1;
        }
    }

    pub(super) fn is_reached(&self, block: usize) -> bool {
        self.reached[block]
    }

    pub(super) fn word(&mut self, word: u64) {
        for block in self.blocks.pointed_to(word).into_iter().flatten() {
            self.reach(block);
        }
    }

    /// Memory of roots, from `at` on, which is a multiple of 8. Words in blocks are left out: they count when their block
    /// is reached.
    pub(super) fn roots(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let mut block = self.blocks.first_behind(at);
        let mut from = at;
        while from < end {
            let memory = if block < self.blocks.len() { self.blocks.memory(block) } else { end..end };
            if memory.start > from {
                self.words(from, &bytes[(from - at) as usize..(memory.start.min(end) - at) as usize]);
            }
            from = memory.end.max(from);
            block += 1;
        }
    }

    /// Every aligned word of `bytes`, which stand at `at`.
    pub(super) fn words(&mut self, at: u64, bytes: &[u8]) {
        let skipped = (at.wrapping_neg() % 8) as usize;
        let (words, _) = bytes.get(skipped..).unwrap_or_default().as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
    }

    /// Some of the blocks to be read, by address; none when all have been.
    pub(super) fn take_pending(&mut self, most: usize) -> Vec<u32> {
        let mut taken = self.pending.split_off(self.pending.len().saturating_sub(most));
        taken.sort_unstable();
        taken
    }

    /// Begins another pass over the same memory: what was reached stays so, and is to be read again. Returns how many
    /// blocks the last pass reached that those before it had not.
    pub(super) fn again(&mut self) -> usize {
        let reached = (0u32..).zip(&self.reached).filter(|(_, reached)| **reached);
        self.pending = reached.map(|(block, _)| block).collect();
        std::mem::take(&mut self.fresh)
    }
}
