//! What the rule is told: the heap's clock, and every threshold with its reason.

use std::time::Duration;

use leaktrace_common::stack::{AGE_BUCKETS, AGE_UNIT_SHIFT, age_bucket};
use serde::{Deserialize, Serialize};

/// A point on a heap's clock: nanoseconds of `CLOCK_MONOTONIC` for native memory, the number of major collections
/// so far for a collected heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Moment(pub u64);

/// A span of the same clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "unit", content = "value")]
pub enum Age {
    Ns(u64),
    MajorGcs(u64),
}

/// Which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeapKind {
    /// Freed by the program; an epoch is a stretch of time.
    Native,
    /// Freed by a collector: deaths are seen at major collections only, so each of these ends an epoch.
    Collected,
}

impl HeapKind {
    pub(super) const fn age(self, span: u64) -> Age {
        match self {
            Self::Native => Age::Ns(span),
            Self::Collected => Age::MajorGcs(span),
        }
    }
}

/// The buckets of a histogram of ages at death, as [`age_bucket`] has them: bucket 0 is what is below a unit, bucket `b`
/// begins at `2^(b-1)` units, and the last one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// In units of the heap's clock.
    pub unit: u64,
}

impl Ages {
    /// About milliseconds, of a clock of nanoseconds: the last bucket begins at 75 minutes.
    pub const NATIVE: Self = Self { unit: 1 << AGE_UNIT_SHIFT };
    pub const MAJOR_GCS: Self = Self { unit: 1 };

    #[must_use]
    pub const fn bucket(&self, age: u64) -> usize {
        age_bucket(age / self.unit)
    }

    /// The least age in a bucket.
    #[must_use]
    pub const fn least(&self, bucket: usize) -> u64 {
        if bucket == 0 { 0 } else { self.unit << (bucket - 1) }
    }

    /// The first bucket whose ages are all at least this old; the last one where none is.
    pub(super) fn from(&self, age: u64) -> usize {
        (0..AGE_BUCKETS).find(|bucket| self.least(*bucket) >= age).unwrap_or(AGE_BUCKETS - 1)
    }
}

/// Of one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub kind: HeapKind,
    pub ages: Ages,
    /// Objects younger than this are not looked at, whatever the window; in units of the heap's clock.
    pub youngest: u64,
    /// Epochs since the onset before anything is suspected.
    pub suspect_epochs: u32,
    /// Epochs since the onset before anything is called a leak.
    pub leak_epochs: u32,
    /// And nanoseconds. A cache that fills evenly for longer than this is called a leak, and taken back when it
    /// is full: see the zoo's table of windows.
    pub leak_ns: u64,
    /// Passed evaluations in a row before it is called a leak.
    pub passes: u32,
    pub suspect_survivors: u64,
    pub leak_survivors: u64,
    /// Bytes per second that a leak must surely exceed.
    pub floor: f64,
    /// The share of events lost above which no leak is called.
    pub lost: f64,
    /// How often a stack that grows is a leak before anything else is known.
    pub prior: f64,
}

/// 1 KB a minute.
const FLOOR: f64 = 1024.0 / 60.0;

/// Epochs of native memory before growth alone is called a leak: with the usual 30 seconds, 36 minutes. In the zoo, 20
/// minutes would call 7.7 % of the hours without a leak one.
pub const LEAK_EPOCHS: u32 = 72;
/// Collections: with fewer there are no eight periods to compare.
const LEAK_GCS: u32 = 9;

impl Settings {
    /// For native memory, by how long an epoch usually is: 30 seconds, less where a first answer matters more than
    /// a sure one. Nothing is suspected before 8 epochs.
    #[must_use]
    pub fn native(epoch: Duration) -> Self {
        Self {
            kind: HeapKind::Native,
            ages: Ages::NATIVE,
            youngest: 0,
            suspect_epochs: 8,
            leak_epochs: LEAK_EPOCHS,
            leak_ns: nanoseconds(epoch).saturating_mul(u64::from(LEAK_EPOCHS) - 1),
            passes: 4,
            suspect_survivors: 12,
            leak_survivors: 50,
            floor: FLOOR,
            lost: 0.01,
            prior: 0.3,
        }
    }

    /// For one epoch per major collection; `epoch` is that of native memory in the same process, so that both call
    /// a leak after the same time. What was born since the last collection is not looked at.
    #[must_use]
    pub fn collected(epoch: Duration) -> Self {
        Self {
            kind: HeapKind::Collected,
            ages: Ages::MAJOR_GCS,
            youngest: 1,
            suspect_epochs: 5,
            leak_epochs: LEAK_GCS,
            ..Self::native(epoch)
        }
    }
}

fn nanoseconds(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_is_in_the_bucket_that_begins_at_or_below_it() {
        for ages in [Ages::NATIVE, Ages::MAJOR_GCS] {
            for age in [0, 1, 2, 3, 7, 8, 1_000_000, 1_999_999, 2_000_000, 524_288_000_000, u64::MAX / 2] {
                let bucket = ages.bucket(age);
                assert!(ages.least(bucket) <= age, "{ages:?} {age}");
                assert!(bucket + 1 == AGE_BUCKETS || age < ages.least(bucket + 1), "{ages:?} {age}");
            }
        }
        assert_eq!([0, 1, 2, 3, 6, 8].map(|age| Ages::MAJOR_GCS.bucket(age)), [0, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn an_age_is_rounded_up_to_where_a_bucket_begins() {
        let seven_and_a_half_minutes = 450_000_000_000;
        let bucket = Ages::NATIVE.from(seven_and_a_half_minutes);
        assert_eq!(Ages::NATIVE.least(bucket), 512 << 30);
        assert_eq!(Ages::NATIVE.from(u64::MAX), 23);
    }
}
