//! Survivors held against the allocator's own state: before something is called a leak, and while it is.

use serde::{Deserialize, Serialize};

use super::{
    engine::Engine,
    evidence::{Called, Judgement, Lacking, Refuted, Verdict},
    no_state::NoState,
};

/// By what the survivors of a judgement are known to be alive, beside the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Verified {
    /// Nobody looked: nothing is suspected, or the process is not there to be looked at.
    #[default]
    Nothing,
    /// The collector: each survivor was marked by it at the last collection.
    Collector,
    /// What the allocator has in its own memory.
    Allocator(Checked),
    /// It was tried, and there is nothing to hold them against.
    Impossible { because: NoState },
}

/// Survivors that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub checked: u64,
    /// In use by the allocator's own state.
    pub confirmed: u64,
    /// Free by it.
    pub refuted: u64,
    /// Of an allocator whose state is not known.
    pub unknown: u64,
}

/// More than one in so many that are free: the books are wrong about this stack.
const ONE_IN: u64 = 100;

impl Checked {
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.refuted * ONE_IN > self.checked
    }
}

impl Engine {
    /// Takes in what was found of the survivors of a judgement that [`super::Ending::judge`] has just made. Where too
    /// many are free it is no leak, nor on its way to become one; one that was called before is taken back. Where nothing
    /// can be known of them it does not become one.
    pub fn verified(&mut self, judgement: &mut Judgement, verified: Verified) {
        judgement.evidence.verified = verified;
        let epoch = self.now().0;
        let said = self.standing(judgement.node).called.filter(|called| called.leak && called.epoch < epoch);
        match (verified, said) {
            (Verified::Allocator(checked), _) if !checked.is_doubtful() => {}
            (Verified::Allocator(Checked { checked, refuted, .. }), Some(was)) => {
                let because = Refuted::Free { refuted, checked };
                let standing = self.standing(judgement.node);
                standing.passes = 0;
                standing.called = None;
                standing.withdrawn = Some((was, because));
                standing.taken_back += 1;
                judgement.passes = 0;
                judgement.verdict = Verdict::TakenBack { was, because };
                judgement.since = Some(was);
                judgement.taken_back = standing.taken_back;
            }
            (Verified::Allocator(Checked { checked, refuted, .. }), None) => {
                self.standing(judgement.node).passes = 0;
                judgement.passes = 0;
                self.suspect(judgement, Lacking::Alive { refuted, checked });
            }
            (Verified::Impossible { because: NoState::Unheard }, None)
                if judgement.verdict == Verdict::Leak =>
            {
                self.suspect(judgement, Lacking::Frees);
            }
            _ => {}
        }
    }

    /// What was called a leak by this epoch was not said yet, and is not.
    fn suspect(&mut self, judgement: &mut Judgement, lacking: Lacking) {
        let (epoch, at_ns) = self.now();
        let standing = self.standing(judgement.node);
        let suspected = standing.called.filter(|called| !called.leak).or(standing.suspected);
        standing.called = Some(suspected.unwrap_or(Called { leak: false, proven: false, epoch, at_ns }));
        judgement.verdict = Verdict::Suspect { lacking };
        judgement.since = standing.called;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leaktrace_common::stack::StackId;

    use super::*;
    use crate::{
        ledger::Totals,
        verdict::{Block, Epoch, FrameId, Moment, Seen, Settings, Unreachable, Watched},
    };

    const EPOCH: u64 = 30_000_000_000;

    /// Five blocks an epoch from one stack, none of them freed as far as the books know.
    struct Growing {
        engine: Engine,
        blocks: Vec<Block>,
    }

    impl Growing {
        fn new() -> Self {
            let settings = Settings::native(Duration::from_nanos(EPOCH));
            Self { engine: Engine::new(settings, Moment(0), 0), blocks: Vec::new() }
        }

        /// What is said after so many epochs, each of them verified so.
        fn after(&mut self, epochs: u32, unreachable: u32, verified: Verified) -> Judgement {
            let mut last = None;
            for _ in 0..epochs {
                let end = u64::from(self.engine.epochs() + 1) * EPOCH;
                let block = Block { born: Moment(end - EPOCH / 2), bytes: 1000, weight: 1.0, births: 1.0 };
                self.blocks.extend([block; 5]);
                let number = self.blocks.len() as u64;
                let totals = Totals { allocs: number, alloc_bytes: 1000 * number, ..Totals::default() };
                let lost = if unreachable > 0 { number } else { 0 };
                let unreachable = Unreachable { blocks: lost, bytes: 1000 * lost, scans: unreachable };
                let (stack, frames) = (StackId(1), [FrameId(1), FrameId(2)]);
                let epoch = Epoch { end: Moment(end), wall_ns: end, work: 1.0, lost: 0, events: number };
                let mut ending = self.engine.end(epoch);
                let watched = Watched::default();
                let seen = Seen { stack, frames: &frames, totals, deaths: &[], unreachable, watched };
                ending.stack(&seen, self.blocks.iter().copied());
                last = ending.judge().into_iter().next();
                if let Some(said) = last.as_mut().filter(|said| said.verdict.is_bad()) {
                    self.engine.verified(said, verified);
                }
            }
            last.expect("something was said")
        }
    }

    const fn of(confirmed: u64, refuted: u64) -> Verified {
        Verified::Allocator(Checked { checked: confirmed + refuted, confirmed, refuted, unknown: 0 })
    }

    #[test]
    fn survivors_that_are_in_use_let_a_leak_be_one() {
        for verified in [of(200, 0), of(198, 2), Verified::Impossible { because: NoState::AllFreed }] {
            let said = Growing::new().after(120, 0, verified);
            assert_eq!((said.verdict, said.evidence.verified), (Verdict::Leak, verified));
        }
    }

    #[test]
    fn with_over_one_in_a_hundred_free_nothing_becomes_a_leak() {
        let said = Growing::new().after(200, 0, of(197, 3));
        let lacking = Lacking::Alive { refuted: 3, checked: 200 };
        assert_eq!((said.verdict, said.passes), (Verdict::Suspect { lacking }, 0));
    }

    #[test]
    fn a_leak_is_taken_back_when_its_survivors_turn_out_to_be_free() {
        let mut growing = Growing::new();
        assert_eq!(growing.after(120, 0, of(200, 0)).verdict, Verdict::Leak);
        let said = growing.after(1, 0, of(100, 100));
        let because = Refuted::Free { refuted: 100, checked: 200 };
        assert!(
            matches!(said.verdict, Verdict::TakenBack { because: why, .. } if why == because),
            "{:?}",
            said.verdict
        );
        let again = growing.after(10, 0, of(100, 100));
        assert_eq!((again.verdict.name(), again.taken_back), ("SUSPECT", 1));
        assert_eq!(
            growing.after(10, 0, of(200, 0)).verdict,
            Verdict::Leak,
            "four passes later it is one again"
        );
    }

    #[test]
    fn what_may_have_been_freed_unheard_is_a_suspect_and_a_leak_that_was_called_before_stays_one() {
        let unheard = Verified::Impossible { because: NoState::Unheard };
        let mut growing = Growing::new();
        let first = growing.after(60, 0, unheard);
        assert_eq!(first.verdict.name(), "SUSPECT", "{first:?}");
        let said = growing.after(60, 0, unheard);
        assert_eq!(said.verdict, Verdict::Suspect { lacking: Lacking::Frees });
        assert_eq!((said.since, said.taken_back), (first.since, 0), "it has been one since then");
        // Nothing speaks against it once its survivors have been heard of.
        for verified in [Verified::Impossible { because: NoState::OtherAllocator }, unheard] {
            assert_eq!(growing.after(1, 0, verified).verdict, Verdict::Leak);
        }
    }

    #[test]
    fn blocks_out_of_reach_that_are_free_prove_nothing() {
        let said = Growing::new().after(20, 3, of(0, 200));
        assert_eq!(said.verdict.name(), "SUSPECT", "{said:?}");
        assert_eq!(Growing::new().after(20, 3, of(200, 0)).verdict, Verdict::LeakProven);
    }
}
