//! How many blocks there can be: the allocator itself says how many of a size are in use.
//!
//! Blocks that were born in a window stand for those of the pause after it, too (see [`super::windows`]). By how much is known
//! to a factor only where most of a window's time goes to tracing. So what is estimated is held to what is there.

use std::collections::HashMap;

use leaktrace_common::process::ProcessId;

use super::LiveBlock;
use crate::event::{InUse, SizeInUse};

/// Of blocks of like size.
#[derive(Clone, Copy, Debug)]
struct Bound {
    size: SizeInUse,
    /// Blocks that were seen, and how many they stand for beside themselves.
    seen: u64,
    others: f64,
}

impl Bound {
    /// The part of the others that can be there.
    fn part(&self) -> f64 {
        let room = self.size.blocks.saturating_sub(self.seen) as f64;
        if room < self.others { room / self.others } else { 1.0 }
    }
}

/// Of one process.
#[derive(Debug)]
struct Told {
    /// What was born later is not in question.
    at: u64,
    bounds: Vec<Bound>,
}

impl Told {
    fn place(&self, block: &LiveBlock) -> Option<usize> {
        let at = self.bounds.partition_point(|bound| bound.size.to < block.size);
        let bound = self.bounds.get(at)?;
        (block.born <= self.at && bound.size.from <= block.size).then_some(at)
    }
}

#[derive(Debug, Default)]
pub(super) struct Bounds(HashMap<ProcessId, Told>);

impl Bounds {
    pub(super) fn tell(&mut self, InUse { process, at, sizes }: &InUse) {
        let bound = |size: &SizeInUse| Bound { size: *size, seen: 0, others: 0.0 };
        self.0.insert(*process, Told { at: *at, bounds: sizes.iter().map(bound).collect() });
    }

    /// Every block that lives, with how many it stands for.
    pub(super) fn weigh<'a>(&mut self, blocks: impl Iterator<Item = (ProcessId, &'a LiveBlock, f64)>) {
        for bound in self.0.values_mut().flat_map(|told| &mut told.bounds) {
            (bound.seen, bound.others) = (0, 0.0);
        }
        for (process, block, weight) in blocks {
            if let Some(told) = self.0.get_mut(&process)
                && let Some(at) = told.place(block)
            {
                told.bounds[at].seen += 1;
                told.bounds[at].others += weight - 1.0;
            }
        }
    }

    /// How many a block can stand for that by the work done stands for so many.
    pub(super) fn bounded(&self, process: ProcessId, block: &LiveBlock, weight: f64) -> f64 {
        let bound = || {
            let told = self.0.get(&process)?;
            Some(told.bounds[told.place(block)?])
        };
        1.0 + (weight - 1.0) * bound().map_or(1.0, |bound| bound.part())
    }

    pub(super) fn forget(&mut self, process: ProcessId) {
        self.0.remove(&process);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ProcessId = ProcessId(1);

    fn bounds(blocks: u64) -> Bounds {
        let mut bounds = Bounds::default();
        let sizes =
            vec![SizeInUse { from: 25, to: 40, blocks }, SizeInUse { from: 57, to: 72, blocks: 1000 }];
        bounds.tell(&InUse { process: ONE, at: 100, sizes });
        bounds
    }

    fn block(size: u64) -> LiveBlock {
        LiveBlock { size, born: 50, address: 0 }
    }

    #[test]
    fn blocks_stand_for_no_more_than_are_in_use() {
        let mut bounds = bounds(12);
        // Two that were seen stand for 40.
        let blocks = [(block(30), 31.0), (block(40), 11.0), (block(60), 31.0)];
        bounds.weigh(blocks.iter().map(|(block, weight)| (ONE, block, *weight)));
        let weights = blocks.map(|(block, weight)| bounds.bounded(ONE, &block, weight));
        // For the third there is room.
        assert_eq!(weights, [8.5, 3.5, 31.0]);
        assert_eq!(bounds.bounded(ONE, &block(50), 31.0), 31.0, "nothing is known of that size");
        assert_eq!(bounds.bounded(ProcessId(2), &block(30), 31.0), 31.0);
    }

    #[test]
    fn what_was_born_later_is_not_held_to_what_was_there_before() {
        let mut bounds = bounds(1);
        let later = LiveBlock { born: 101, ..block(30) };
        bounds.weigh([(ONE, &block(30), 5.0), (ONE, &later, 5.0)].into_iter());
        assert_eq!([block(30), later].map(|block| bounds.bounded(ONE, &block, 5.0)), [1.0, 5.0]);
        // Each look begins anew.
        bounds.weigh(std::iter::empty());
        assert_eq!(bounds.bounded(ONE, &block(30), 2.0), 2.0);
        bounds.forget(ONE);
        assert!(bounds.is_empty());
    }
}
