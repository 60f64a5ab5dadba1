//! The live blocks of one process by address, and which of them a word points into.

use std::ops::Range;

use super::BlockAt;

/// Of the index, not of the machine: blocks of one such page are told apart by searching.
const PAGE: u64 = 4096;
/// Addresses without blocks that are longer than this are left out of the index.
const GAP: u64 = 1 << 20;

/// Sorted; places in it are what [`super::mark::Mark`] counts by. The index takes 4 bytes for each 4 KiB of heap.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Up to the end that was asked for: what the allocator adds to it is not the block's.
    ranges: Vec<Range<u64>>,
    spans: Vec<Span>,
    /// For each page of each span the first block that begins in it or later.
    firsts: Vec<u32>,
}

#[derive(Debug)]
struct Span {
    start: u64,
    /// Last address that points into or just past one of its blocks.
    last: u64,
    /// Of its first page, in `firsts`. It has one more entry than pages.
    index: usize,
}

impl Blocks {
    /// `blocks` sorted by address, at most one at each.
    pub(super) fn new(blocks: &[BlockAt]) -> Self {
        let ranges: Vec<_> =
            blocks.iter().map(|block| block.address..block.address.saturating_add(block.size)).collect();
        let mut all = Self { ranges, spans: Vec::new(), firsts: Vec::new() };
        let mut from = 0;
        let mut last = 0;
        for at in 0..all.ranges.len() {
            if at > from && all.ranges[at].start.saturating_sub(last) > GAP {
                all.add_span(from..at, last);
                (from, last) = (at, 0);
            }
            last = last.max(all.ranges[at].end);
        }
        if from < all.ranges.len() {
            all.add_span(from..all.ranges.len(), last);
        }
        all
    }

    fn add_span(&mut self, of: Range<usize>, last: u64) {
        let start = self.ranges[of.start].start / PAGE * PAGE;
        self.spans.push(Span { start, last, index: self.firsts.len() });
        let mut block = of.start;
        for page in 0..=(last - start) / PAGE {
            while block < of.end && self.ranges[block].start < start + page * PAGE {
                block += 1;
            }
            self.firsts.push(block as u32);
        }
        self.firsts.push(of.end as u32);
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The block's bytes, to the end of the word that its last byte is in.
    pub(super) fn memory(&self, block: usize) -> Range<u64> {
        let Range { start, end } = self.ranges[block];
        start..end.checked_next_multiple_of(8).unwrap_or(end)
    }

    /// The first block whose memory ends behind `address`. Overlapping blocks aside, as those are all reachable.
    pub(super) fn first_behind(&self, address: u64) -> usize {
        let behind = self.ranges.partition_point(|range| range.start <= address);
        if behind > 0 && self.memory(behind - 1).end > address { behind - 1 } else { behind }
    }

    /// Blocks that share bytes with another: one of each pair is no more, its end was missed.
    pub(super) fn overlapping(&self) -> Vec<usize> {
        let mut found = Vec::new();
        let mut longest = 0;
        for at in 1..self.ranges.len() {
            if self.ranges[at].start < self.ranges[longest].end {
                found.extend([longest, at]);
            }
            if self.ranges[at].end > self.ranges[longest].end {
                longest = at;
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The block that `word` points into, or just past the end of; both, where it does one to each.
    #[inline]
    pub(super) fn pointed_to(&self, word: u64) -> [Option<usize>; 2] {
        // Most processes have two or three: the heap of brk, and that of mappings.
        let Some(span) = self.spans.iter().find(|span| (span.start..=span.last).contains(&word)) else {
            return [None, None];
        };
        let page = span.index + ((word - span.start) / PAGE) as usize;
        let mut block = self.firsts[page] as usize;
        let end = self.firsts[page + 1] as usize;
        block += self.ranges[block..end].partition_point(|range| range.start <= word);
        let Some(block) = block.checked_sub(1) else { return [None, None] };
        let within = (word <= self.ranges[block].end).then_some(block);
        let before = within
            .filter(|_| self.ranges[block].start == word)
            .and_then(|block| block.checked_sub(1))
            .filter(|before| self.ranges[*before].end == word);
        [within, before]
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_common::stack::StackId;

    use super::*;

    fn blocks(ranges: &[(u64, u64)]) -> Blocks {
        let block = |&(address, size)| BlockAt { address, size, stack: StackId(1), born: 0 };
        Blocks::new(&ranges.iter().map(block).collect::<Vec<_>>())
    }

    #[test]
    fn a_word_points_from_the_first_byte_to_just_past_the_last() {
        let blocks = blocks(&[(0x1010, 24), (0x5000, 0), (1 << 40, 100_000)]);
        let found = |word| blocks.pointed_to(word)[0];
        assert_eq!(
            [0x100f, 0x1010, 0x1018, 0x1028, 0x1029].map(found),
            [None, Some(0), Some(0), Some(0), None]
        );
        assert_eq!([0x4fff, 0x5000, 0x5001].map(found), [None, Some(1), None]);
        let large = 1 << 40;
        assert_eq!(
            [large - 1, large, large + 99_999, large + 100_001].map(found),
            [None, Some(2), Some(2), None]
        );
    }

    #[test]
    fn where_one_block_ends_and_the_next_begins_a_word_is_for_both() {
        let blocks = blocks(&[(0x1000, 0x1000), (0x2000, 16)]);
        assert_eq!(blocks.pointed_to(0x2000), [Some(1), Some(0)]);
        assert_eq!(blocks.pointed_to(0x1fff), [Some(0), None]);
    }

    #[test]
    fn every_block_that_shares_bytes_is_told() {
        let blocks =
            blocks(&[(0x1000, 0x1000), (0x1100, 8), (0x1200, 8), (0x2000, 8), (0x3000, 9), (0x3008, 8)]);
        assert_eq!(blocks.overlapping(), [0, 1, 2, 4, 5]);
    }
}
