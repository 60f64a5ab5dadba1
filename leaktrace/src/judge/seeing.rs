//! How much of what happened in a heap was seen.

use leaktrace_common::counter::Counter;

use super::Heap;
use crate::ledger::{Ledger, Totals};

/// What loses a block of native memory, or a free of one: a survivor that is none.
const NATIVE: [Counter; 4] =
    [Counter::LiveFull, Counter::CallsFull, Counter::ResultUnreadable, Counter::ImplicitFree];
/// What loses samples.
const JAVASCRIPT: [Counter; 3] = [Counter::SamplesFull, Counter::V8Full, Counter::AreaUnlike];

/// Events of one heap so far, and the lost ones.
///
/// Losses are counted over all processes, as nobody knows whose the lost ones were. Each heap takes all of its kind for
/// its own: then none is called a leak that another one's many events would have hidden the losses of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seeing {
    pub(super) events: u64,
    pub(super) lost: u64,
}

impl Seeing {
    /// `totals` are of this heap's stacks.
    pub(super) fn of(ledger: &Ledger, heap: Heap, totals: Totals) -> Self {
        let counters: &[Counter] = match heap {
            Heap::Native => &NATIVE,
            Heap::JavaScript(_) => &JAVASCRIPT,
        };
        // A record that nobody can read may have been of anything.
        let lost =
            counters.iter().map(|counter| ledger.counter(*counter)).sum::<u64>() + ledger.heard().undecodable;
        Self { events: totals.allocs + totals.frees + lost, lost }
    }
}
