//! The stacks that count, each with its process and its number.

use std::collections::{BTreeMap, HashMap};

use super::{
    frames::{clean, folded},
    marks::Marks,
    metric::Metric,
};
use crate::report::{Process, Report, Stack};

/// A stack, and what it counts for.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    pub(super) stack: &'a Stack,
    pub(super) process: Option<&'a Process>,
    pub(super) value: u64,
}

/// Those of a report, in its order.
pub(super) fn paths(report: &Report, metric: Metric) -> impl Iterator<Item = Path<'_>> {
    paths_of_all(report, metric).filter(|path| path.value > 0)
}

/// The same with the stacks that count for nothing.
pub(super) fn paths_of_all(report: &Report, metric: Metric) -> impl Iterator<Item = Path<'_>> {
    let processes: HashMap<u32, &Process> =
        report.processes.iter().map(|process| (process.process, process)).collect();
    let each = report.stacks.iter().zip(metric.of(report));
    each.map(move |(stack, value)| Path { stack, process: processes.get(&stack.process).copied(), value })
}

impl<'a> Path<'a> {
    /// `comm-pid`
    pub(super) fn process_name(&self) -> String {
        format!("{}-{}", self.comm(), self.stack.pid)
    }

    pub(super) fn comm(&self) -> &'a str {
        let comm = self.process.map_or("", |process| process.comm.as_str());
        if comm.is_empty() { "process" } else { comm }
    }

    /// In place of the frames that are not known.
    pub(super) fn lack(&self) -> Option<String> {
        let Stack { frames, complete, stopped, .. } = self.stack;
        match (frames.is_empty(), complete) {
            (true, _) => Some(format!("[{stopped}]")),
            (false, false) => Some(format!("[stack ends early: {stopped}]")),
            (false, true) => None,
        }
    }

    /// The allocator's function, or what was allocated.
    pub(super) fn allocator(&self) -> &'a str {
        self.stack.function.as_deref().unwrap_or(&self.stack.kind)
    }
}

/// What a folded line begins with, and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// `comm-pid`
    Processes,
    /// The same, and below it `[LEAK]` for the stacks that a verdict names.
    Marked,
    /// `comm`, as two runs have different pids; and no allocator at the end: a difference is shown in the last function.
    Compared,
}

/// Folded lines with their sums, outermost first, in the order of their text.
pub(super) fn lines(report: &Report, metric: Metric, roots: Roots) -> BTreeMap<String, u64> {
    let names: Vec<String> = report.frames.iter().map(folded).collect();
    let marks = Marks::of(report);
    let mut lines = BTreeMap::new();
    for path in paths(report, metric) {
        let root = if roots == Roots::Compared { path.comm().to_owned() } else { path.process_name() };
        let mut line = clean(&root);
        // Readers take lines that begin so for comments.
        if line.starts_with('#') {
            line.replace_range(..1, "_");
        }
        let mark = marks.name(path.stack).filter(|_| roots == Roots::Marked).map(|name| format!("[{name}]"));
        for part in mark.iter().chain(&path.lack()) {
            line = line + ";" + part;
        }
        for name in path.stack.frames.iter().rev().filter_map(|at| names.get(*at)) {
            line = line + ";" + name;
        }
        if roots != Roots::Compared {
            line = line + ";" + &clean(path.allocator());
        }
        *lines.entry(line).or_default() += path.value;
    }
    lines
}
