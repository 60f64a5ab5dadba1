//! A process's JavaScript heap: what lives of it by type, and how it was collected.
//!
//! Bytes are estimates from samples. The error beside one is half of its 95 % confidence interval: the samples of a
//! stack are Poisson distributed, so the variance of a sum of weights is the sum of their squares.

use std::{borrow::Cow, collections::BTreeMap};

use leaktrace_common::{process::ProcessId, v8::Sample};
use serde::{Deserialize, Serialize};

use crate::{
    event::{Collection, Engine},
    ledger::{Collections, Kind, Ledger, Pauses, Site},
    symbolize::Names,
};

/// Standard deviations on either side of a mean that hold 95 % of a normal distribution.
pub(super) const OF_95_PERCENT: f64 = 1.96;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JavaScript {
    /// `V8 11.3.244.8`
    pub engine: String,
    /// Mean bytes of allocation between two samples, unless there would be too many of them.
    pub sample_interval: u64,
    /// How many were taken.
    #[serde(default)]
    pub samples: u64,
    /// Part of the time in which refills of V8's allocation areas were looked at: less than 1 where they are many.
    #[serde(default = "all")]
    pub refills_seen: f64,
    /// What is not seen of it, and why.
    pub unseen: Vec<String>,
    /// Whether it is known of samples if they live; if not, none is counted as live or judged.
    pub followed: bool,
    /// Bytes of allocation that samples stand for, dead or alive.
    pub sampled_bytes: u64,
    pub live: Estimate,
    /// By bytes, most first.
    pub types: Vec<Type>,
    pub minor: CollectionTotals,
    pub major: CollectionTotals,
    /// The latest collections, oldest first.
    pub collections: Vec<Cycle>,
    /// How many older ones are left out of `collections`.
    pub collections_left_out: u64,
}

/// Live bytes from samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Estimate {
    pub bytes: u64,
    /// The true number is within this of `bytes` with 95 % confidence.
    pub error_bytes: u64,
    pub samples: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Type {
    /// Constructor of an object, else what V8 calls it: `Session`, `String`, `Array`, `closure`.
    pub name: String,
    #[serde(flatten)]
    pub live: Estimate,
}

/// Live objects that outlived `from` to `to` whole collections, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Generation {
    pub from: u32,
    pub to: u32,
    #[serde(flatten)]
    pub live: Estimate,
}

/// Pauses in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionTotals {
    pub count: u64,
    pub total_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
    pub freed_bytes: u64,
    /// Of `total_ns`, what leaktrace's own look at its samples took.
    pub looking_ns: u64,
}

/// One collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    /// When it ended, from the start of tracing.
    pub at_ns: u64,
    pub pause_ns: u64,
    /// `scavenge`, `mark-compact` or `minor mark-sweep`.
    pub collector: Cow<'static, str>,
    pub reason: Cow<'static, str>,
    /// Tells isolates apart; in hex.
    pub heap: String,
    pub tid: u32,
    /// Bytes of objects; none where V8 did not count them.
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub samples: u32,
    pub samples_died: u32,
}

impl JavaScript {
    pub(super) fn of(ledger: &Ledger, names: &Names, sites: &[Site<'_>], engine: &Engine) -> Self {
        let process = engine.process;
        let own = || sites.iter().filter(|site| site.process.id == process && site.kind == Kind::JavaScript);
        let samples: Vec<&Sample> = own().flat_map(|site| site.samples.iter().copied()).collect();
        let none = Collections::default();
        let collections = ledger.collections(process).unwrap_or(&none);
        let began = ledger.at().saturating_sub(ledger.traced_ns());
        Self {
            engine: format!("V8 {}", engine.version),
            sample_interval: engine.interval,
            samples: own().map(|site| site.totals.allocs).sum(),
            refills_seen: all(),
            unseen: engine.unseen.clone(),
            followed: engine.followed,
            sampled_bytes: own().map(|site| site.totals.alloc_bytes).sum(),
            live: Estimate::of(samples.iter().copied()),
            types: types(names, process, samples),
            minor: CollectionTotals::of(&collections.minor),
            major: CollectionTotals::of(&collections.major),
            collections: collections.latest.iter().map(|one| Cycle::of(one, began)).collect(),
            collections_left_out: collections.dropped,
        }
    }
}

fn all() -> f64 {
    1.0
}

impl Estimate {
    pub(super) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let (mut bytes, mut squares, mut count) = (0u64, 0f64, 0);
        for sample in samples {
            bytes += sample.weight;
            // A large object is a sample with certainty and stands for itself.
            if sample.weight != u64::from(sample.size) {
                squares += (sample.weight as f64).powi(2);
            }
            count += 1;
        }
        Self { bytes, error_bytes: (OF_95_PERCENT * squares.sqrt()) as u64, samples: count }
    }
}

/// By powers of two of whole collections outlived; empty ranges are left out.
pub(super) fn generations<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Vec<Generation> {
    let mut by_age: BTreeMap<u32, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let age = u32::from(sample.major_survived);
        by_age.entry(age.checked_ilog2().map_or(0, |power| 1 << power)).or_default().push(sample);
    }
    let generation = |(from, samples): (u32, Vec<&Sample>)| Generation {
        from,
        to: (from * 2).saturating_sub(1).max(from),
        live: Estimate::of(samples),
    };
    by_age.into_iter().map(generation).collect()
}

/// What is live by type, most bytes first.
pub(super) fn types<'a>(
    names: &Names,
    process: ProcessId,
    samples: impl IntoIterator<Item = &'a Sample>,
) -> Vec<Type> {
    let mut by_type: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_type.entry(names.type_of(process, sample)).or_default().push(sample);
    }
    let of =
        |(name, samples): (&str, Vec<&Sample>)| Type { name: name.to_owned(), live: Estimate::of(samples) };
    let mut types: Vec<Type> = by_type.into_iter().map(of).collect();
    types.sort_by_key(|kind| std::cmp::Reverse(kind.live.bytes));
    types
}

impl CollectionTotals {
    fn of(pauses: &Pauses) -> Self {
        let histogram = &pauses.histogram;
        Self {
            count: histogram.len(),
            total_ns: pauses.total_ns,
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            max_ns: if histogram.is_empty() { 0 } else { histogram.max() },
            freed_bytes: pauses.freed_bytes,
            looking_ns: pauses.looking_ns,
        }
    }
}

impl Cycle {
    fn of(collection: &Collection, began: u64) -> Self {
        let Collection { heap, tid, collector, reason, ended, before, after, looked_at, died, .. } =
            *collection;
        Self {
            at_ns: ended.saturating_sub(began),
            pause_ns: collection.pause_ns(),
            collector: match collector {
                0 => "scavenge",
                Collection::MARK_COMPACTOR => "mark-compact",
                2 => "minor mark-sweep",
                _ => "unknown",
            }
            .into(),
            reason: REASONS.get(reason as usize).copied().unwrap_or("unknown").into(),
            heap: format!("{heap:#x}"),
            tid,
            before,
            after,
            samples: looked_at,
            samples_died: died,
        }
    }
}

/// `v8::internal::GarbageCollectionReason`, whose numbers V8 does not change once given
/// (<https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/common/globals.h>).
const REASONS: [&str; 28] = [
    "unknown",
    "allocation failure",
    "allocation limit",
    "context disposal",
    "counters extension",
    "debugger",
    "deserializer",
    "external memory pressure",
    "finalize incremental marking via stack guard",
    "finalize incremental marking via task",
    "full hash-table",
    "heap profiler",
    "task",
    "last resort",
    "low memory notification",
    "make heap iterable",
    "memory pressure",
    "memory reducer",
    "runtime",
    "sampling profiler",
    "snapshot creator",
    "testing",
    "external finalize",
    "global allocation limit",
    "measure memory",
    "background allocation failure",
    "finalize concurrent minor mark-sweep",
    "C++ heap allocation failure",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(weight: u64, size: u32, major_survived: u16) -> Sample {
        Sample { weight, size, major_survived, ..Sample::default() }
    }

    #[test]
    fn the_error_of_a_sum_grows_with_the_root_of_its_samples_and_large_objects_have_none() {
        let all = [sample(1000, 40, 0); 100];
        assert_eq!(Estimate::of(&all), Estimate { bytes: 100_000, error_bytes: 19_600, samples: 100 });
        let large = [sample(1 << 20, 1 << 20, 0)];
        assert_eq!(Estimate::of(&large), Estimate { bytes: 1 << 20, error_bytes: 0, samples: 1 });
    }

    #[test]
    fn generations_are_ranges_of_powers_of_two() {
        let samples: Vec<Sample> = [0, 1, 2, 3, 9].map(|age| sample(10, 1, age)).into();
        let ranges: Vec<_> =
            generations(&samples).iter().map(|one| (one.from, one.to, one.live.samples)).collect();
        assert_eq!(ranges, [(0, 0, 1), (1, 1, 1), (2, 3, 2), (8, 15, 1)]);
    }
}
