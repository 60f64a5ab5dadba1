//! For how many scans in a row each block was out of reach.

use std::collections::{HashMap, HashSet};

use leaktrace_common::stack::StackId;

use super::BlockAt;
use crate::verdict::Unreachable;

/// One life of a block. Its stack may be called otherwise later, when it is found to be one with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Life {
    address: u64,
    size: u64,
    born: u64,
}

#[derive(Clone, Copy, Debug)]
struct Streak {
    stack: StackId,
    scans: u32,
}

/// What the last scan did not reach.
#[derive(Debug, Default)]
pub(super) struct Streaks {
    unreached: HashMap<Life, Streak>,
    /// Stacks with a block that was freed after its proof: something held it that no scan sees.
    refuted: HashSet<StackId>,
}

impl Streaks {
    /// Takes a scan in. A block that it reached begins anew; the others' scans are one more if it `counts`.
    pub(super) fn take(&mut self, unreached: impl Iterator<Item = BlockAt>, counts: bool) {
        let more = u32::from(counts);
        let after = unreached.map(|block| {
            let life = Life::of(&block);
            let before = self.unreached.get(&life).map_or(0, |streak| streak.scans);
            (life, Streak { stack: block.stack, scans: before.saturating_add(more) })
        });
        self.unreached = after.filter(|(_, streak)| streak.scans > 0).collect();
    }

    /// Drops blocks that have been freed. Returns how many of those `enough` scans had not reached, which is a proof that
    /// was wrong: nothing more is believed of their stacks. `live` finds the block that lives at an address.
    pub(super) fn keep<'a>(&mut self, live: impl Fn(u64) -> Option<&'a BlockAt>, enough: u32) -> u64 {
        let mut wrong = 0;
        self.unreached.retain(|life, streak| {
            match live(life.address).filter(|block| Life::of(block) == *life) {
                Some(block) => {
                    if block.stack != streak.stack && self.refuted.contains(&streak.stack) {
                        self.refuted.insert(block.stack);
                    }
                    streak.stack = block.stack;
                    true
                }
                None => {
                    if streak.scans >= enough {
                        wrong += 1;
                        self.refuted.insert(streak.stack);
                    }
                    false
                }
            }
        });
        wrong
    }

    /// Those of a stack that as many scans as `enough` did not reach, or else those that the most did not.
    pub(super) fn of(&self, stack: StackId, enough: u32) -> Unreachable {
        if self.refuted.contains(&stack) {
            return Unreachable::default();
        }
        let of_stack = || self.unreached.iter().filter(move |(_, streak)| streak.stack == stack);
        let most = of_stack().map(|(_, streak)| streak.scans).max().unwrap_or(0).min(enough);
        let mut sums = Unreachable::default();
        for (life, Streak { scans, .. }) in of_stack().filter(|(_, streak)| streak.scans >= most) {
            sums.scans = if sums.blocks == 0 { *scans } else { sums.scans.min(*scans) };
            sums.blocks += 1;
            sums.bytes += life.size;
        }
        sums
    }

    /// Stacks with such blocks.
    pub(super) fn stacks(&self) -> Vec<StackId> {
        let mut stacks: Vec<_> = self.unreached.values().map(|streak| streak.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        stacks
    }
}

impl Life {
    const fn of(block: &BlockAt) -> Self {
        let BlockAt { address, size, born, .. } = *block;
        Self { address, size, born }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: BlockAt = BlockAt { address: 0x1000, size: 10, stack: StackId(7), born: 1 };
    const LATER: BlockAt = BlockAt { address: 0x2000, size: 5, stack: StackId(7), born: 2 };

    #[test]
    fn a_block_that_is_reached_once_begins_anew() {
        let mut streaks = Streaks::default();
        streaks.take([LOST].into_iter(), true);
        streaks.take([LOST].into_iter(), true);
        assert_eq!(streaks.of(LOST.stack, 3), Unreachable { blocks: 1, bytes: 10, scans: 2 });
        streaks.take(std::iter::empty(), true);
        streaks.take([LOST].into_iter(), true);
        assert_eq!(streaks.of(LOST.stack, 3).scans, 1);
    }

    #[test]
    fn another_block_at_the_same_address_has_not_been_unreached_before() {
        let mut streaks = Streaks::default();
        streaks.take([LOST].into_iter(), true);
        streaks.take([BlockAt { born: 9, ..LOST }].into_iter(), true);
        assert_eq!(streaks.of(LOST.stack, 3).scans, 1);
    }

    #[test]
    fn blocks_that_were_lost_later_do_not_take_the_proof_of_earlier_ones() {
        let mut streaks = Streaks::default();
        streaks.take([LOST].into_iter(), true);
        streaks.take([LOST].into_iter(), true);
        streaks.take([LOST, LATER].into_iter(), true);
        assert_eq!(streaks.of(LOST.stack, 3), Unreachable { blocks: 1, bytes: 10, scans: 3 });
        streaks.take([LOST, LATER].into_iter(), true);
        streaks.take([LOST, LATER].into_iter(), true);
        assert_eq!(streaks.of(LOST.stack, 3), Unreachable { blocks: 2, bytes: 15, scans: 3 });
    }

    #[test]
    fn a_block_that_is_freed_after_its_proof_refutes_its_stack_for_good() {
        let mut streaks = Streaks::default();
        (0..3).for_each(|_| streaks.take([LOST, LATER].into_iter(), true));
        let later = |address| (address == LATER.address).then_some(&LATER);
        assert_eq!(streaks.keep(later, 4), 0, "too few scans to have proven anything");
        assert_eq!(streaks.of(LOST.stack, 3).blocks, 1);
        assert_eq!(streaks.keep(|_| None, 3), 1);
        (0..3).for_each(|_| streaks.take([LOST].into_iter(), true));
        assert_eq!(streaks.of(LOST.stack, 3), Unreachable::default());
    }

    #[test]
    fn a_stack_that_turns_out_to_be_another_one_takes_its_blocks_streaks_along() {
        let mut streaks = Streaks::default();
        (0..3).for_each(|_| streaks.take([LOST].into_iter(), true));
        let renamed = BlockAt { stack: StackId(2), ..LOST };
        assert_eq!(streaks.keep(|_| Some(&renamed), 3), 0, "nothing was freed");
        assert_eq!(streaks.of(StackId(2), 3), Unreachable { blocks: 1, bytes: 10, scans: 3 });
        streaks.take([renamed].into_iter(), true);
        assert_eq!(streaks.of(StackId(2), 3).scans, 4);
    }

    #[test]
    fn a_scan_that_does_not_count_can_only_take_away() {
        let mut streaks = Streaks::default();
        streaks.take([LOST, LATER].into_iter(), true);
        streaks.take([LOST].into_iter(), false);
        assert_eq!(streaks.of(LOST.stack, 3), Unreachable { blocks: 1, bytes: 10, scans: 1 });
        assert_eq!(streaks.stacks(), [LOST.stack]);
    }
}
