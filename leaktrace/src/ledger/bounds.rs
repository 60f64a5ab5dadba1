//! How many blocks there are by the allocator's own account, of each size.
//!
//! Blocks that were born in a window stand for those of the pause after it, too (see [`super::windows`]). By how much is known
//! to a factor only where most of a window's time goes to tracing. So what is estimated is held to what is there: of a size no
//! more lives than is in use, and no less was born and lives than that has grown by.

use std::collections::HashMap;

use leaktrace_common::process::ProcessId;

use super::LiveBlock;
use crate::event::{InUse, SizeInUse};

/// So many have to stand for others before a size's growth is shared out among them: it may be of a stack that was in no window.
const SURE: u64 = 12;

/// Of blocks of like size.
#[derive(Clone, Copy, Debug)]
struct Bound {
    size: SizeInUse,
    /// In use when the size was told of first.
    first: u64,
    /// Blocks that were seen, how many of them stand for others, and for how many others.
    seen: u64,
    standing: u64,
    others: f64,
}

impl Bound {
    /// How many others there are for each one by the work done.
    fn factor(&self) -> f64 {
        if self.standing == 0 {
            return 1.0;
        }
        let unseen = |all: u64| all.saturating_sub(self.seen) as f64;
        let grown = self.size.usual.saturating_sub(self.first);
        let least = if self.standing < SURE { 0.0 } else { unseen(grown) };
        self.others.max(least).min(unseen(self.size.most)) / self.others
    }
}

/// Of one process.
#[derive(Debug, Default)]
struct Told {
    /// What was born later is not in question.
    at: u64,
    bounds: Vec<Bound>,
    /// Of each size that was ever told of, by its largest bytes.
    first: HashMap<u64, u64>,
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
        let told = self.0.entry(*process).or_default();
        told.at = *at;
        let bound = |size: &SizeInUse| {
            let first = *told.first.entry(size.to).or_insert(size.usual);
            Bound { size: *size, first, seen: 0, standing: 0, others: 0.0 }
        };
        told.bounds = sizes.iter().map(bound).collect();
    }

    /// Every block that lives, with how many it stands for by the work done.
    pub(super) fn weigh<'a>(&mut self, blocks: impl Iterator<Item = (ProcessId, &'a LiveBlock, f64)>) {
        for bound in self.0.values_mut().flat_map(|told| &mut told.bounds) {
            (bound.seen, bound.standing, bound.others) = (0, 0, 0.0);
        }
        for (process, block, weight) in blocks {
            if let Some(told) = self.0.get_mut(&process)
                && let Some(at) = told.place(block)
            {
                let bound = &mut told.bounds[at];
                bound.seen += 1;
                bound.standing += u64::from(weight > 1.0);
                bound.others += weight - 1.0;
            }
        }
    }

    /// How many a block stands for that by the work done stands for so many.
    pub(super) fn bounded(&self, process: ProcessId, block: &LiveBlock, weight: f64) -> f64 {
        let bound = || {
            let told = self.0.get(&process)?;
            Some(told.bounds[told.place(block)?])
        };
        1.0 + (weight - 1.0) * bound().map_or(1.0, |bound| bound.factor())
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

    fn tell(bounds: &mut Bounds, at: u64, most: u64, usual: u64) {
        let other = SizeInUse { from: 57, to: 72, most: 1000, usual: 1000 };
        let sizes = vec![SizeInUse { from: 25, to: 40, most, usual }, other];
        bounds.tell(&InUse { process: ONE, at, sizes });
    }

    fn told(most: u64) -> Bounds {
        let mut bounds = Bounds::default();
        tell(&mut bounds, 100, most, most);
        bounds
    }

    fn block(size: u64) -> LiveBlock {
        LiveBlock { size, born: 50, address: 0 }
    }

    #[test]
    fn blocks_stand_for_no_more_than_are_in_use() {
        let mut bounds = told(12);
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
    fn blocks_stand_for_no_less_than_their_size_grew_by() {
        let mut bounds = told(990);
        tell(&mut bounds, 200, 5000, 4990);
        let weigh = |bounds: &mut Bounds, count: usize| {
            bounds.weigh(std::iter::repeat_n((ONE, &block(30), 3.0), count));
            bounds.bounded(ONE, &block(30), 3.0)
        };
        // 4000 more are in use: 20 that were seen, and 3980 others.
        assert_eq!(weigh(&mut bounds, 20), 200.0);
        assert_eq!(weigh(&mut bounds, 11), 3.0, "they may not be these");
        // It shrank, which says nothing of those.
        tell(&mut bounds, 300, 900, 890);
        assert_eq!(weigh(&mut bounds, 20), 3.0);
    }

    #[test]
    fn what_was_born_later_is_not_held_to_what_was_there_before() {
        let mut bounds = told(1);
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
