//! What of a moment is no long list: few numbers, written whole each time, with the names of their fields. A field that
//! is added later gets a default where an older recording is read.

use std::{borrow::Cow, collections::VecDeque};

use rmp_serde::Serializer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::Malformed;
use crate::{
    report::{Cost, Coverage, Cycle, Growing, Process, Proof, Report, Totals, Verdict, Watch},
    verdict::{Change, Changed, ChangedStack, HeapDiff, Point},
};

/// A [`Report`] without its stacks, frames, processes and verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) leaktrace: Cow<'static, str>,
    pub(super) traced_ns: u64,
    pub(super) older_than_ns: u64,
    pub(super) watch: Option<Watch>,
    pub(super) cost: Option<Cost>,
    pub(super) judged: bool,
    pub(super) growing: Vec<Growing>,
    pub(super) proofs: Vec<Proof>,
    pub(super) diff: Option<Diff>,
    pub(super) totals: Totals,
    pub(super) coverage: Coverage,
    /// How long these lists are now; what changed of them follows.
    pub(super) processes: usize,
    pub(super) verdicts: usize,
}

/// A [`HeapDiff`] without those of its stacks that the report lists: these go with the stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Diff {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) all: Change,
    pub(super) types: Vec<Changed<String>>,
    pub(super) elsewhere: Vec<ChangedStack>,
}

impl Begin {
    /// `elsewhere` are the stacks of its difference that it does not list.
    pub(super) fn of(report: &Report, elsewhere: Vec<ChangedStack>) -> Self {
        // A field of a report that is forgotten here does not compile.
        let Report {
            schema: _,
            version: _,
            leaktrace,
            traced_ns,
            older_than_ns,
            watch,
            cost,
            processes,
            verdicts,
            judged,
            growing,
            proofs,
            diff,
            totals,
            frames: _,
            stacks: _,
            coverage,
        } = report;
        let diff = diff.as_ref().map(|diff| {
            let HeapDiff { from, to, from_ns, to_ns, all, types, stacks: _ } = diff;
            let (from, to, from_ns, to_ns) = (*from, *to, *from_ns, *to_ns);
            Diff { from, to, from_ns, to_ns, all: *all, types: types.clone(), elsewhere }
        });
        Self {
            leaktrace: leaktrace.clone(),
            traced_ns: *traced_ns,
            older_than_ns: *older_than_ns,
            watch: *watch,
            cost: cost.clone(),
            judged: *judged,
            growing: growing.clone(),
            proofs: proofs.clone(),
            diff,
            totals: *totals,
            coverage: coverage.clone(),
            processes: processes.len(),
            verdicts: verdicts.len(),
        }
    }
}

/// What is now at a place of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct At<T> {
    pub(super) place: usize,
    pub(super) is: T,
}

pub(super) type ProcessAt = At<Process>;
pub(super) type VerdictAt = At<Verdict>;

/// Collections of a process that came since the moment before: `latest` are kept in all.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cycles {
    pub(super) process: u32,
    pub(super) latest: usize,
    pub(super) new: VecDeque<Cycle>,
}

/// Adds a value to others, with the names of its fields.
pub(super) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) -> std::io::Result<()> {
    let mut serializer = Serializer::new(bytes).with_struct_map();
    value.serialize(&mut serializer).map_err(std::io::Error::other)
}

/// Values that stand one behind the other.
pub(super) fn each<T: DeserializeOwned>(mut bytes: &[u8]) -> impl Iterator<Item = Result<T, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let value = rmp_serde::from_read(&mut bytes).map_err(|_| Malformed("a value"));
        if value.is_err() {
            bytes = &[];
        }
        Some(value)
    })
}
