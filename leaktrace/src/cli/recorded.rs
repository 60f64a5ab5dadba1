//! `leaktrace report` and `leaktrace diff`, as typed and as meant.

use std::{path::PathBuf, time::Duration};

use super::{
    args::{FailOn, When},
    plan::{Output, UsageError, colour},
};

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Recording to report: FILE of --record
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What was known then, so long after tracing began, e.g. 10m (default: at its end)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    at: Option<Duration>,

    /// List the moments that it holds, a line each: how memory grew
    #[arg(long, conflicts_with_all = ["at", "json", "folded", "fail_on", "quiet"])]
    moments: bool,

    /// How many stacks are shown
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Write live bytes per stack in flamegraph.pl's folded format
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,

    /// Write the whole report as JSON (schema leaktrace-report, version 2)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// End with exit code 7 if this was found
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Size histograms, addresses and all counters
    #[arg(short, long)]
    verbose: bool,

    /// Print no report (with --json or --folded)
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

    /// Colour what is printed
    #[arg(long, value_enum, default_value_t = When::Auto)]
    color: When,
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
    pub output: Output,
}

impl ReportArgs {
    pub(super) fn plan(self) -> Result<ReportPlan, UsageError> {
        if self.quiet && self.json.is_none() && self.folded.is_none() {
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
                folded: self.folded,
                json: self.json,
                ..Output::default()
            },
        })
    }
}

impl DiffArgs {
    pub(super) fn plan(self) -> Result<DiffPlan, UsageError> {
        Ok(DiffPlan {
            before: self.before,
            after: self.after,
            output: Output {
                top: self.top,
                colour: colour(self.color),
                json: self.json,
                ..Output::default()
            },
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
        assert!(Args::try_parse_from(["leaktrace", "report"]).is_err(), "of which file?");
    }

    #[test]
    fn a_report_that_shows_nothing_is_refused() {
        assert_eq!(report("leaktrace report a.ltrace --quiet"), Err(UsageError::QuietForNothing));
        assert!(report("leaktrace report a.ltrace --quiet --json b.json").is_ok());
    }
}
