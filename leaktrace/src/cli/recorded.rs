//! `leaktrace report` and `leaktrace diff`, as typed and as meant.

use std::{path::PathBuf, time::Duration};

use super::{
    args::{FailOn, When},
    outputs::{Exports, Format, Outputs},
    plan::{Output, UsageError, colour},
};
use crate::export::Metric;

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Recording to report: FILE of --record
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What was known then, so long after tracing began, e.g. 10m (default: at its end)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    at: Option<Duration>,

    /// List the moments that it holds, a line each: how memory grew
    #[arg(long, conflicts_with_all = ["at", "Outputs", "fail_on", "quiet"])]
    moments: bool,

    /// How many stacks are shown
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    top: usize,

    #[command(flatten)]
    outputs: Outputs,

    /// End with exit code 7 if this was found
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Size histograms, addresses and all counters
    #[arg(short, long)]
    verbose: bool,

    /// Print no report (with --json or another file)
    #[arg(short, long)]
    quiet: bool,

    /// Colour the report
    #[arg(long, value_enum, default_value_t = When::Auto)]
    color: When,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// Recording to compare with
    #[arg(value_name = "BEFORE")]
    before: PathBuf,

    /// Recording of what it became
    #[arg(value_name = "AFTER")]
    after: PathBuf,

    /// How many stacks are shown
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Write everything that differs as JSON (schema leaktrace-diff, version 1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a flame graph of AFTER, SVG: red where a function has more than in BEFORE, blue where it has less
    #[arg(long, value_name = "FILE")]
    flamegraph: Option<PathBuf>,

    /// What the flame graph counts of each stack
    #[arg(long, value_enum, value_name = "METRIC", default_value_t)]
    metric: Metric,

    /// Colour what is printed
    #[arg(long, value_enum, default_value_t = When::Auto)]
    color: When,
}

#[derive(Debug, clap::Args)]
pub(super) struct FlamegraphArgs {
    /// Recording to draw: FILE of --record
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where to write it, SVG: a browser opens it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What was known then, so long after tracing began, e.g. 10m (default: at its end)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    at: Option<Duration>,

    /// What it counts of each stack
    #[arg(long, value_enum, value_name = "METRIC", default_value_t)]
    metric: Metric,
}

/// Reports what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPlan {
    pub file: PathBuf,
    pub shown: Shown,
    pub fail_on: Option<FailOn>,
    pub output: Output,
}

/// What of a recording is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    End,
    /// The last moment that is no later.
    At(Duration),
    /// All moments, a line each.
    Moments,
}

/// Compares two recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffPlan {
    pub before: PathBuf,
    pub after: PathBuf,
    pub json: Option<PathBuf>,
    pub flamegraph: Option<PathBuf>,
    pub metric: Metric,
    pub output: Output,
}

impl ReportArgs {
    pub(super) fn plan(self) -> Result<ReportPlan, UsageError> {
        let exports = self.outputs.plan();
        if self.quiet && exports.files.is_empty() {
            return Err(UsageError::QuietForNothing);
        }
        Ok(ReportPlan {
            file: self.file,
            shown: match self.at {
                _ if self.moments => Shown::Moments,
                Some(at) => Shown::At(at),
                None => Shown::End,
            },
            fail_on: self.fail_on,
            output: Output {
                quiet: self.quiet,
                verbose: self.verbose,
                top: self.top,
                colour: colour(self.color),
                exports,
                ..Output::default()
            },
        })
    }
}

impl FlamegraphArgs {
    /// A report that is written as a flame graph, and nowhere else.
    pub(super) fn plan(self) -> ReportPlan {
        let exports = Exports { files: vec![(Format::Flamegraph, self.output)], metric: self.metric };
        ReportPlan {
            file: self.file,
            shown: self.at.map_or(Shown::End, Shown::At),
            fail_on: None,
            output: Output { quiet: true, exports, ..Output::default() },
        }
    }
}

impl DiffArgs {
    pub(super) fn plan(self) -> Result<DiffPlan, UsageError> {
        Ok(DiffPlan {
            before: self.before,
            after: self.after,
            json: self.json,
            flamegraph: self.flamegraph,
            metric: self.metric,
            output: Output { top: self.top, colour: colour(self.color), ..Output::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Args, Task};

    fn report(line: &str) -> Result<ReportPlan, UsageError> {
        match Args::try_parse_from(line.split(' ')).expect("clap accepts the line").task()? {
            Task::Report(plan) => Ok(plan),
            other => panic!("not a report: {other:?}"),
        }
    }

    #[test]
    fn the_end_is_reported_unless_another_moment_is_asked_for() {
        let shown = |line| report(line).map(|plan| plan.shown);
        assert_eq!(shown("leaktrace report a.ltrace"), Ok(Shown::End));
        let at = Shown::At(Duration::from_secs(90));
        assert_eq!(shown("leaktrace report a.ltrace --at 90s"), Ok(at));
        assert_eq!(shown("leaktrace report --moments a.ltrace"), Ok(Shown::Moments));
        assert!(Args::try_parse_from(["leaktrace", "report", "a", "--moments", "--at", "1s"]).is_err());
        let of_which = ["leaktrace", "report", "a", "--moments", "--json", "b"];
        assert!(Args::try_parse_from(of_which).is_err(), "a list of moments is no report");
        assert!(Args::try_parse_from(["leaktrace", "report"]).is_err(), "of which file?");
    }

    #[test]
    fn a_flame_graph_is_a_report_in_one_file() {
        let plan = report("leaktrace flamegraph a.ltrace -o a.svg --at 1m").unwrap();
        assert_eq!(plan.output.exports.files, [(Format::Flamegraph, PathBuf::from("a.svg"))]);
        assert_eq!((plan.output.quiet, plan.shown), (true, Shown::At(Duration::from_secs(60))));
        assert!(Args::try_parse_from(["leaktrace", "flamegraph", "a.ltrace"]).is_err(), "to which file?");
    }

    #[test]
    fn a_report_that_shows_nothing_is_refused() {
        assert_eq!(report("leaktrace report a.ltrace --quiet"), Err(UsageError::QuietForNothing));
        assert!(report("leaktrace report a.ltrace --quiet --json b.json").is_ok());
    }
}
