//! What differs between two traces, as of the same program before and after a change: stacks are told by the names of
//! their frames, since processes, addresses and stack ids are others each time.
//!
//! The fields are those of the JSON file, whose schema is `schema/diff-v1.json`.

#[cfg(test)]
mod tests;
mod text;

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{Frame, Report, Stack, Text, Totals, Verdict, build::JAVASCRIPT};
use crate::{symbolize::file_name, verdict::Change};

/// Of the JSON schema.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub schema: &'static str,
    pub version: u32,
    pub before: Side,
    pub after: Side,
    /// Of native memory.
    pub change: Change,
    /// Of JavaScript's, which are estimates; a block is a sample.
    pub javascript_change: Change,
    /// What grew most first, what shrank most last; what did not change is left out.
    pub stacks: Vec<Compared>,
    /// What was or is called something.
    pub verdicts: Vec<Judged>,
}

/// One of the two traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    pub leaktrace: Cow<'static, str>,
    pub traced_ns: u64,
    pub processes: Vec<Who>,
    pub totals: Totals,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    pub pid: u32,
    pub comm: String,
    pub command: String,
}

/// One stack, in all processes that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    pub path: Path,
    pub change: Change,
    pub before: Totals,
    pub after: Totals,
}

/// What stacks are told by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Path {
    /// `heap`, `mapping` or `javascript`.
    pub kind: Cow<'static, str>,
    pub owner: Option<Cow<'static, str>>,
    /// The allocator's.
    pub function: Option<String>,
    /// The allocator's caller first.
    pub frames: Vec<Place>,
}

/// A frame without what differs by chance. What has no name is told by its place in its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub function: Option<String>,
    /// Name of the file that native code is from, without its folder.
    pub module: Option<String>,
    /// Where the function has no name.
    pub offset: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// What frames were or are held to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// `native` or `javascript`.
    pub heap: Cow<'static, str>,
    pub frames: Vec<Place>,
    pub before: Option<Said>,
    pub after: Option<Said>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    pub verdict: Cow<'static, str>,
    pub text: String,
    pub bytes_per_second: f64,
}

impl Comparison {
    #[must_use]
    pub fn between(before: &Report, after: &Report) -> Self {
        let mut stacks: BTreeMap<Path, [Totals; 2]> = BTreeMap::new();
        for (side, report) in [before, after].into_iter().enumerate() {
            for stack in &report.stacks {
                stacks.entry(Path::of(report, stack)).or_default()[side].add(stack.totals);
            }
        }
        let compared = |(path, [before, after]): (Path, [Totals; 2])| Compared {
            path,
            change: change(before, after),
            before,
            after,
        };
        let mut stacks: Vec<Compared> = stacks.into_iter().map(compared).collect();
        let of_all = |is_javascript: bool| {
            let own = stacks.iter().filter(|one| (one.path.kind == JAVASCRIPT) == is_javascript);
            own.fold(Change::default(), |sum, one| Change {
                blocks: sum.blocks + one.change.blocks,
                bytes: sum.bytes + one.change.bytes,
            })
        };
        let (change, javascript_change) = (of_all(false), of_all(true));
        stacks.retain(|one| one.change != Change::default());
        // Stable: what changed alike stays in the order of its names.
        stacks.sort_by_key(|one| Reverse(one.change.bytes));
        Self {
            schema: "leaktrace-diff",
            version: VERSION,
            before: Side::of(before),
            after: Side::of(after),
            change,
            javascript_change,
            stacks,
            verdicts: judged(before, after),
        }
    }

    /// For a person: verdicts that came and went, then stacks.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, style: &Text, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, style, out)
    }

    /// Everything, by the schema.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

fn change(before: Totals, after: Totals) -> Change {
    let less = |one: u64, other: u64| one.wrapping_sub(other).cast_signed();
    Change {
        blocks: less(after.live_blocks, before.live_blocks),
        bytes: less(after.live_bytes, before.live_bytes),
    }
}

impl Side {
    fn of(report: &Report) -> Self {
        let who = |process: &super::Process| Who {
            pid: process.pid,
            comm: process.comm.clone(),
            command: process.command.clone(),
        };
        Self {
            leaktrace: report.leaktrace.clone(),
            traced_ns: report.traced_ns,
            processes: report.processes.iter().map(who).collect(),
            totals: report.totals,
        }
    }
}

impl Path {
    fn of(report: &Report, stack: &Stack) -> Self {
        Self {
            kind: stack.kind.clone(),
            owner: stack.owner.clone(),
            function: stack.function.clone(),
            frames: report.frames_of(stack).map(Place::of).collect(),
        }
    }
}

impl Place {
    fn of(frame: &Frame) -> Self {
        Self {
            function: frame.function.clone(),
            // An upgrade may have another folder.
            module: frame.module.as_deref().map(file_name).map(str::to_owned),
            offset: if frame.function.is_some() { None } else { frame.offset.clone() },
            file: frame.file.clone(),
            line: frame.line,
        }
    }
}

/// Of what is worth a paragraph on either side. Several processes may have the same: the surest one is told.
fn judged(before: &Report, after: &Report) -> Vec<Judged> {
    type Key<'a> = (&'a str, Vec<Place>);
    let mut by_place: BTreeMap<Key<'_>, [Option<&Verdict>; 2]> = BTreeMap::new();
    for (side, report) in [before, after].into_iter().enumerate() {
        for verdict in report.verdicts.iter().filter(|verdict| verdict.is_told()) {
            let place = |frame: &super::VerdictFrame| Place {
                function: frame.function.clone(),
                module: frame.module.as_deref().map(file_name).map(str::to_owned),
                offset: None,
                file: frame.file.clone(),
                line: frame.line,
            };
            let key = (verdict.heap.as_ref(), verdict.frames.iter().map(place).collect());
            let known = &mut by_place.entry(key).or_default()[side];
            if known.is_none_or(|known| known.confidence < verdict.confidence) {
                *known = Some(verdict);
            }
        }
    }
    let said = |verdict: &Verdict| Said {
        verdict: verdict.verdict.clone(),
        text: verdict.text.clone(),
        bytes_per_second: verdict.bytes_per_second,
    };
    let judged = |((heap, frames), [before, after]): (Key<'_>, [Option<&Verdict>; 2])| Judged {
        heap: heap.to_owned().into(),
        frames,
        before: before.map(said),
        after: after.map(said),
    };
    let mut all: Vec<Judged> = by_place.into_iter().map(judged).collect();
    // What came is news, what went is good news, what stays is known.
    all.sort_by_key(|one| match (&one.before, &one.after) {
        (None, Some(_)) => 0,
        (Some(before), Some(after)) if before.verdict != after.verdict => 1,
        (Some(_), None) => 2,
        _ => 3,
    });
    all
}
