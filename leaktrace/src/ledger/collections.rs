//! Garbage collections of a process: pauses in all, and the latest one by one.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::event::Collection;

/// As many collections are kept one by one as a busy server makes in ten minutes; of older ones the sums stay.
const KEPT: usize = 16_384;
/// A pause longer than this counts as this long: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

#[derive(Debug)]
pub struct Collections {
    pub minor: Pauses,
    pub major: Pauses,
    /// Oldest first.
    pub latest: VecDeque<Collection>,
    /// How many older ones are not in `latest`.
    pub dropped: u64,
}

/// How long the program stood still.
#[derive(Debug)]
pub struct Pauses {
    /// Nanoseconds, within 0.1 %.
    pub histogram: Histogram<u64>,
    pub total_ns: u64,
    /// Bytes that were collected, where V8 said the sizes before and after.
    pub freed_bytes: u64,
    /// Of the pauses, what our own look at the samples took.
    pub looking_ns: u64,
}

impl Default for Collections {
    fn default() -> Self {
        Self { minor: Pauses::new(), major: Pauses::new(), latest: VecDeque::new(), dropped: 0 }
    }
}

impl Collections {
    pub(super) fn add(&mut self, collection: Collection) {
        if collection.is_major() { &mut self.major } else { &mut self.minor }.add(&collection);
        if self.latest.len() == KEPT {
            self.latest.pop_front();
            self.dropped += 1;
        }
        self.latest.push_back(collection);
    }
}

impl Pauses {
    fn new() -> Self {
        // Fails only for bounds that make no sense.
        let histogram =
            Histogram::new_with_max(LONGEST_NS, 3).unwrap_or_else(|_| unreachable!("an hour, 3 digits"));
        Self { histogram, total_ns: 0, freed_bytes: 0, looking_ns: 0 }
    }

    fn add(&mut self, collection: &Collection) {
        let pause = collection.pause_ns();
        self.histogram.saturating_record(pause);
        self.total_ns += pause;
        self.looking_ns += u64::from(collection.looking_ns);
        if let (Some(before), Some(after)) = (collection.before, collection.after) {
            self.freed_bytes += before.saturating_sub(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_common::process::ProcessId;

    use super::*;

    fn collection(collector: u32, pause: u64) -> Collection {
        Collection {
            process: ProcessId(1),
            heap: 1,
            tid: 1,
            collector,
            reason: 1,
            began: 1000,
            ended: 1000 + pause,
            before: Some(300),
            after: Some(100),
            looked_at: 0,
            died: 0,
            looking_ns: 5,
        }
    }

    #[test]
    fn pauses_of_the_two_kinds_are_apart_and_old_collections_stay_in_the_sums() {
        let mut all = Collections::default();
        all.add(collection(Collection::MARK_COMPACTOR, 2_000_000));
        for _ in 0..KEPT {
            all.add(collection(0, 1_000_000));
        }
        assert_eq!((all.major.histogram.len(), all.minor.histogram.len()), (1, KEPT as u64));
        assert_eq!((all.latest.len(), all.dropped), (KEPT, 1));
        assert_eq!((all.major.total_ns, all.major.freed_bytes, all.major.looking_ns), (2_000_000, 200, 5));
        assert!(all.minor.histogram.value_at_quantile(0.99).abs_diff(1_000_000) <= 1000);
    }
}
