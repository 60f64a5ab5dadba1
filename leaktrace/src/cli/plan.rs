//! What the command line means, checked.

use std::{ffi::OsString, io::IsTerminal as _, num::NonZeroU32, path::PathBuf, time::Duration};

use thiserror::Error;

pub use super::args::FailOn;
use super::{
    args::{Args, DemoProgram, Heap, Sub, Trace, When},
    census::CensusPlan,
    outputs::{Exports, Lines},
    push::PushTo,
    recorded::{DiffPlan, ReportPlan},
};
use crate::process::Selection;

/// A command line that makes no sense; clap has said the rest.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UsageError {
    #[error(
        "--comm, --user, --cgroup, --container and --exclude choose among all processes; leave them out, or leave out --pid and the program after --"
    )]
    SelectionAndTarget,
    #[error("--user: there is no user {0}; give a name that `getent passwd` knows, or a number")]
    NoSuchUser(String),
    #[error(
        "--prove searches all memory of each process, which is too much for every process there is; give it a --pid"
    )]
    ProveAll,
    #[error("--pid and a program after -- cannot be traced together; run leaktrace twice")]
    PidAndCommand,
    #[error("--pid 0 is no process")]
    PidZero,
    #[error("--min-size {min} is above --max-size {max}: nothing would be recorded")]
    EmptySizeRange { min: u64, max: u64 },
    #[error("--{0} 0s would never end; leave it out or give a time such as 10s")]
    ZeroTime(&'static str),
    #[error("--{0} must be at least 1")]
    ZeroRoom(&'static str),
    #[error("--quiet leaves nothing to show; give a file, such as --json FILE, --html FILE or --record FILE")]
    QuietForNothing,
    #[error("--gc-tolerance is a part of the heap, from 0 to below 1")]
    Tolerance,
    #[error("--prove is about native memory, which --only javascript leaves out")]
    NothingToProve,
    #[error("--watch looks at one process; give it one --pid, and run leaktrace again for another")]
    WatchOne,
    #[error("--watch looks at native memory, which --only javascript leaves out")]
    NothingToWatch,
    #[error("where shall it be recorded? Give -o FILE, e.g. -o out.ltrace")]
    NoRecording,
    #[error("--js-interval must be from 1KiB to 1TiB")]
    JsInterval,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    Trace(Box<Plan>),
    Census(CensusPlan),
    Report(ReportPlan),
    Diff(DiffPlan),
}

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every process that fits, also those that begin later.
    All(Selection),
    Pids(Vec<NonZeroU32>),
    Command(Vec<OsString>),
    /// The demo: with node, or with the native program.
    Demo {
        node: Option<bool>,
    },
}

/// Where the report goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub quiet: bool,
    pub verbose: bool,
    pub top: usize,
    pub colour: Colour,
    pub exports: Exports,
    pub record: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics: Option<String>,
    /// Where profiles are sent, and how often.
    pub push: Option<(PushTo, Duration)>,
    pub lines: Option<Lines>,
    /// Events and snapshots, for tests.
    pub stream: Option<PathBuf>,
}

impl Targets {
    /// Whether no process was named.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        matches!(self, Self::All(_))
    }
}

impl Output {
    /// Whether a report is printed as text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.quiet && self.lines != Some(Lines::Stdout)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    #[default]
    Plain,
    Ansi,
}

/// A run of leaktrace.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub targets: Targets,
    /// Time between two looks from outside, until growth shows: only then it is traced.
    pub watch: Option<Duration>,
    pub duration: Option<Duration>,
    pub interval: Option<Duration>,
    pub min_size: u64,
    pub max_size: u64,
    pub older_than: Option<Duration>,
    /// Whether malloc's memory is traced, and whether V8's.
    pub native: bool,
    pub javascript: bool,
    /// Mean bytes between two samples of a JavaScript heap.
    pub js_interval: Option<u64>,
    /// Whether JavaScript is named by source maps.
    pub source_maps: bool,
    /// Part of the processes' CPU time that tracing native memory may take; none for whatever it takes.
    pub budget: Option<f64>,
    /// How long an epoch of native memory is.
    pub epoch: Duration,
    /// Bytes a minute.
    pub min_rate: u64,
    pub consecutive_gcs: u32,
    pub gc_tolerance: f64,
    pub suppress: Option<PathBuf>,
    /// Whether memory is searched for what reaches native blocks.
    pub prove: bool,
    pub fail_on: Option<FailOn>,
    pub libraries: Vec<PathBuf>,
    pub prefixes: Vec<String>,
    pub mmap: bool,
    /// Whether children are traced too; of a trace of all processes always.
    pub follow: bool,
    pub probe_at_entry: bool,
    /// Each has a link of its own.
    pub probe_by_probe: bool,
    /// So long files are held that nobody maps any more.
    pub keep_files: Duration,
    pub max_live: u32,
    pub max_stacks: u32,
    pub output: Output,
}

/// Of the traced processes' own CPU time.
const BUDGET: f64 = 0.05;

/// A leak is called after 72.
const DEMO_EPOCHS: u32 = 130;

/// Eight looks take three and a half minutes, and a look at a gigabyte some tenths of a CPU second.
const WATCH_EVERY: Duration = Duration::from_secs(30);

/// V8 gives out memory in pieces of up to 256 KiB, which is as fine as samples can be; more often than this is only more
/// work.
const MIN_JS_INTERVAL: u64 = 1 << 10;
const MAX_JS_INTERVAL: u64 = 1 << 40;

impl Args {
    /// Whether this is the demo's own program, to be run instead of a trace.
    #[must_use]
    pub fn is_demo_program(&self) -> bool {
        matches!(self.subcommand, Some(Sub::DemoProgram))
    }

    /// What it is to do. Checks what clap cannot.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn task(self) -> Result<Task, UsageError> {
        let Self { subcommand, trace } = self;
        match subcommand {
            None | Some(Sub::DemoProgram) => trace.plan(),
            Some(Sub::Demo { duration, program }) => {
                let node = match program {
                    DemoProgram::Auto => None,
                    DemoProgram::Node => Some(true),
                    DemoProgram::Native => Some(false),
                };
                trace.plan_for(Targets::Demo { node }, Some(duration))
            }
            Some(Sub::Record { trace }) if trace.record.is_none() => Err(UsageError::NoRecording),
            Some(Sub::Record { trace }) => trace.plan(),
            Some(Sub::Census(census)) => return census.plan().map(Task::Census),
            Some(Sub::Report(report)) => return report.plan().map(Task::Report),
            Some(Sub::Flamegraph(flamegraph)) => return Ok(Task::Report(flamegraph.plan())),
            Some(Sub::Diff(diff)) => return diff.plan().map(Task::Diff),
        }
        .map(|plan| Task::Trace(Box::new(plan)))
    }
}

impl Trace {
    fn plan(mut self) -> Result<Plan, UsageError> {
        let selection = std::mem::take(&mut self.selection).plan()?;
        let targets = targets(std::mem::take(&mut self.pids), std::mem::take(&mut self.command), selection)?;
        let duration = self.duration;
        self.plan_for(targets, duration)
    }

    fn plan_for(self, targets: Targets, duration: Option<Duration>) -> Result<Plan, UsageError> {
        // The demo is judged within its few seconds, and the verdict says how little that is.
        let epoch = match (&targets, duration) {
            (Targets::Demo { .. }, Some(duration)) => duration / DEMO_EPOCHS,
            _ => self.epoch,
        };
        // A service must not be slowed down; what was started to be traced may take its time.
        let is_service = matches!(targets, Targets::Pids(_) | Targets::All(_)) && !self.exact;
        let budget = self.budget.or(is_service.then_some(BUDGET));
        let times = [
            ("duration", duration),
            ("interval", self.interval),
            ("epoch", Some(epoch)),
            ("every", self.every),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(UsageError::ZeroTime(name));
            }
        }
        for (name, room) in [("max-live", self.max_live), ("max-stacks", self.max_stacks)] {
            if room == 0 {
                return Err(UsageError::ZeroRoom(name));
            }
        }
        let min_size = self.min_size.map_or(0, |size| size.as_u64());
        let max_size = self.max_size.map_or(u64::MAX, |size| size.as_u64());
        if min_size > max_size {
            return Err(UsageError::EmptySizeRange { min: min_size, max: max_size });
        }
        if self.consecutive_gcs == 0 {
            return Err(UsageError::ZeroRoom("consecutive-gcs"));
        }
        if !(0.0..1.0).contains(&self.gc_tolerance) {
            return Err(UsageError::Tolerance);
        }
        if let Some(interval) = self.js_interval
            && !(MIN_JS_INTERVAL..=MAX_JS_INTERVAL).contains(&interval.as_u64())
        {
            return Err(UsageError::JsInterval);
        }
        if self.watch && !matches!(&targets, Targets::Pids(pids) if pids.len() == 1) {
            return Err(UsageError::WatchOne);
        }
        if self.watch && self.only == Some(Heap::Javascript) {
            return Err(UsageError::NothingToWatch);
        }
        if self.prove && targets.are_all() {
            return Err(UsageError::ProveAll);
        }
        if self.prove && self.only == Some(Heap::Javascript) {
            return Err(UsageError::NothingToProve);
        }
        let exports = self.outputs.plan();
        let has_other =
            self.record.is_some() || self.stream.is_some() || self.metrics.is_some() || self.push.is_some();
        if self.quiet && exports.files.is_empty() && !has_other {
            return Err(UsageError::QuietForNothing);
        }
        let follow = self.follow || targets.are_all();
        Ok(Plan {
            targets,
            watch: self.watch.then(|| self.every.unwrap_or(WATCH_EVERY)),
            duration,
            interval: self.interval,
            min_size,
            max_size,
            older_than: self.older_than,
            native: self.only != Some(Heap::Javascript),
            javascript: self.only != Some(Heap::Native),
            js_interval: self.js_interval.map(|interval| interval.as_u64()),
            source_maps: self.source_maps,
            budget,
            epoch,
            min_rate: self.min_rate.as_u64(),
            consecutive_gcs: self.consecutive_gcs,
            gc_tolerance: self.gc_tolerance,
            suppress: self.suppress,
            prove: self.prove,
            fail_on: self.fail_on,
            libraries: self.libraries,
            prefixes: self.prefixes,
            mmap: self.mmap,
            follow,
            probe_at_entry: self.probe_at_entry,
            probe_by_probe: self.probe_by_probe,
            keep_files: self.keep_files,
            max_live: self.max_live,
            max_stacks: self.max_stacks,
            output: Output {
                quiet: self.quiet,
                verbose: self.verbose > 0,
                top: self.top,
                colour: colour(self.color),
                exports,
                record: self.record,
                metrics: self.metrics,
                push: self.push.map(|push| (push, self.push_every)),
                lines: self.stream,
                stream: self.record_stream,
            },
        })
    }
}

fn targets(pids: Vec<u32>, command: Vec<OsString>, selection: Selection) -> Result<Targets, UsageError> {
    match (pids.is_empty(), command.is_empty()) {
        (true, true) => Ok(Targets::All(selection)),
        _ if !selection.is_all() => Err(UsageError::SelectionAndTarget),
        (false, false) => Err(UsageError::PidAndCommand),
        (true, false) => Ok(Targets::Command(command)),
        (false, true) => {
            let mut pids = pids
                .into_iter()
                .map(|pid| NonZeroU32::new(pid).ok_or(UsageError::PidZero))
                .collect::<Result<Vec<_>, _>>()?;
            pids.sort_unstable();
            pids.dedup();
            Ok(Targets::Pids(pids))
        }
    }
}

/// <https://no-color.org>: the variable wins over the terminal, the flag over both.
pub(super) fn colour(when: When) -> Colour {
    let ansi = match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
        }
    };
    if ansi { Colour::Ansi } else { Colour::Plain }
}

#[cfg(test)]
mod tests;
