//! pprof's profile, gzip'd, with the sample types of Go's heap profiles, so that what reads those reads this: `go tool
//! pprof`, Pyroscope, speedscope.
//!
//! - The allocator's own function is a label and no frame: else all memory would be malloc's.
//! - Addresses are offsets in their file, with a mapping for each file from 0 on: processes have it at different
//!   addresses, and what matters is that a place is the same in all of them.
//! - JavaScript and other code made at run time are in mappings named so, `[javascript]` and `[jit]`, with no address:
//!   their code is moved and compiled anew.
//! - A stack's memory is that of all threads that ran it: the label `thread` is there where they all have one name.

pub(super) mod messages;
mod tables;

use std::{
    borrow::Cow,
    io::{self, Write},
};

use flate2::{Compression, GzBuilder};
use messages::{Profile, Sample, ValueType};
use prost::Message as _;
use tables::Tables;

use super::{
    marks::Marks,
    metric::Metric,
    paths::{Path, paths_of_all},
};
use crate::report::{Exporter, Process, Report, Stack, Totals};

/// All that a heap profile tells at once. The metric says which of it is shown first, and growth and leaked bytes are
/// one more sample type where they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pprof {
    pub metric: Metric,
}

/// <https://github.com/golang/go/blob/go1.22.0/src/runtime/pprof/protomem.go#L20>
const GO: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

impl Exporter for Pprof {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let stacks = paths_of_all(report, self.metric).map(|path| (path, path.stack.totals));
        // With no time of its own: the same report gives the same file.
        zipped(&self.profile(report, stacks, Types::Apart), out)
    }
}

/// Some of a report's stacks for a store that is sent a profile at intervals: with what was allocated in this one, so that the
/// store can add intervals up, and with live memory as it is at its end.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    pub report: &'a Report,
    /// With their process, and the totals that count.
    pub stacks: &'a [(&'a Stack, &'a Process, Totals)],
    /// Its end, in nanoseconds since 1970.
    pub at_ns: u64,
    pub lasted_ns: u64,
}

impl Interval<'_> {
    /// As [`Pprof`]'s files, but that types are not told apart: a store keeps a series for each combination of labels.
    #[must_use]
    pub fn pprof(&self) -> Vec<u8> {
        let path = |stack, process| Path { stack, process: Some(process), value: 0 };
        let stacks = self.stacks.iter().map(|(stack, process, totals)| (path(stack, process), *totals));
        let mut profile = Pprof::default().profile(self.report, stacks, Types::Together);
        profile.time_nanos = whole(self.at_ns);
        profile.duration_nanos = whole(self.lasted_ns);
        let mut bytes = Vec::new();
        // Memory can be written.
        let _ = zipped(&profile, &mut bytes);
        bytes
    }
}

/// Whether what is live is told by type where types are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Types {
    Apart,
    Together,
}

fn zipped(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let mut gzip = GzBuilder::new().write(out, Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish().map(|_| ())
}

impl Pprof {
    fn profile<'a>(
        self,
        report: &'a Report,
        stacks: impl Iterator<Item = (Path<'a>, Totals)>,
        types: Types,
    ) -> Profile {
        let mut tables = Tables::new(report);
        let kinds = GO.into_iter().chain(self.fifth());
        let sample_type: Vec<ValueType> = kinds.map(|(kind, unit)| tables.value_type(kind, unit)).collect();
        let marks = Marks::of(report);
        let mut samples = Vec::new();
        for (path, totals) in stacks {
            let values = self.values(&path, totals, types).into_iter();
            let mut values = values.filter(|(value, _)| value.iter().any(|number| *number > 0)).peekable();
            if values.peek().is_none() {
                continue;
            }
            let location_id = tables.locations(&path);
            let labels = labels(&path, marks.name(path.stack));
            for (value, kind) in values {
                let labels =
                    labels.iter().map(|(key, name)| (*key, &**name)).chain(kind.map(|kind| ("type", kind)));
                let label = labels.map(|(key, name)| tables.label(key, name)).collect();
                let value = value.into_iter().map(whole).collect();
                samples.push(Sample { location_id: location_id.clone(), value, label });
            }
        }
        Profile {
            sample_type,
            sample: samples,
            duration_nanos: whole(report.traced_ns),
            period_type: Some(tables.value_type("space", "bytes")),
            // Estimates are scaled up already.
            period: 1,
            comment: vec![tables.string(&format!("leaktrace {}", report.leaktrace))],
            default_sample_type: tables.string(self.shown_first()),
            ..tables.into_profile()
        }
    }

    const fn shown_first(self) -> &'static str {
        match self.metric {
            Metric::LiveBytes => "inuse_space",
            Metric::LiveCount => "inuse_objects",
            Metric::AllocatedBytes => "alloc_space",
            Metric::Growth => "growth_space",
            Metric::LeakedBytes => "leaked_space",
        }
    }

    fn fifth(self) -> Option<(&'static str, &'static str)> {
        matches!(self.metric, Metric::Growth | Metric::LeakedBytes).then(|| (self.shown_first(), "bytes"))
    }

    /// One sample, or where types are known one for each, which hold what is live: what was allocated and what grew are
    /// not known by type.
    fn values<'a>(self, path: &Path<'a>, totals: Totals, told: Types) -> Vec<(Vec<u64>, Option<&'a str>)> {
        let types = if told == Types::Apart { &path.stack.types[..] } else { &[] };
        let fifth = self.fifth().map(|_| path.value);
        let value = |allocs, alloc_bytes, live_blocks, live_bytes, fifth: Option<u64>| {
            [allocs, alloc_bytes, live_blocks, live_bytes].into_iter().chain(fifth).collect::<Vec<u64>>()
        };
        let live = types.iter().map(|kind| (kind.live.samples, kind.live.bytes));
        let sums = live.fold((0, 0), |sums, live| (sums.0 + live.0, sums.1 + live.1));
        if types.is_empty() || sums != (totals.live_blocks, totals.live_bytes) {
            let all = value(totals.allocs, totals.alloc_bytes, totals.live_blocks, totals.live_bytes, fifth);
            return vec![(all, None)];
        }
        let zero = fifth.map(|_| 0);
        let by_type = types
            .iter()
            .map(|kind| (value(0, 0, kind.live.samples, kind.live.bytes, zero), Some(kind.name.as_str())));
        let allocated = (value(totals.allocs, totals.alloc_bytes, 0, 0, fifth), None);
        std::iter::once(allocated).chain(by_type).collect()
    }
}

fn labels<'a>(path: &Path<'a>, mark: Option<&'a str>) -> Vec<(&'static str, Cow<'a, str>)> {
    let always = [
        ("process", path.comm().into()),
        ("pid", path.stack.pid.to_string().into()),
        ("kind", path.stack.kind.as_ref().into()),
        ("allocator", path.allocator().into()),
    ];
    let some =
        [("thread", path.stack.thread.as_deref()), ("owner", path.stack.owner.as_deref()), ("verdict", mark)];
    let some = some.into_iter().filter_map(|(key, name)| Some((key, name?.into())));
    always.into_iter().chain(some).collect()
}

/// profile.proto's numbers have a sign.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
