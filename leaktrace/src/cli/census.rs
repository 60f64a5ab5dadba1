//! `leaktrace census`, as typed and as meant.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use super::plan::UsageError;

/// Between two looks where only their number was given.
const EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct CensusArgs {
    /// Process to look at
    #[arg(short, long, value_name = "PID")]
    pid: u32,

    /// Look again each time this passes, e.g. 30s, until Ctrl-C or the process ends
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration)]
    every: Option<Duration>,

    /// Stop after so many looks (30s apart unless --every says otherwise)
    #[arg(short, long, value_name = "N")]
    times: Option<u32>,

    /// How many sizes are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Write the first and the last look as JSON (schema leaktrace-census, version 1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Looks at a heap from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CensusPlan {
    pub pid: NonZeroU32,
    pub every: Duration,
    /// None: until something ends it.
    pub times: Option<NonZeroU32>,
    pub top: usize,
    pub json: Option<PathBuf>,
}

impl CensusArgs {
    pub(super) fn plan(self) -> Result<CensusPlan, UsageError> {
        if self.every.is_some_and(|every| every.is_zero()) {
            return Err(UsageError::ZeroTime("every"));
        }
        let times = match (self.times, self.every) {
            (Some(times), _) => Some(NonZeroU32::new(times).ok_or(UsageError::ZeroRoom("times"))?),
            (None, Some(_)) => None,
            (None, None) => Some(NonZeroU32::MIN),
        };
        Ok(CensusPlan {
            pid: NonZeroU32::new(self.pid).ok_or(UsageError::PidZero)?,
            every: self.every.unwrap_or(EVERY),
            times,
            top: self.top,
            json: self.json,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Args, Task};

    fn plan(line: &str) -> Result<CensusPlan, UsageError> {
        match Args::try_parse_from(line.split(' ')).expect("clap accepts the line").task()? {
            Task::Census(plan) => Ok(plan),
            other => panic!("not a census: {other:?}"),
        }
    }

    #[test]
    fn one_look_is_taken_unless_more_are_asked_for() {
        let times = |line| plan(line).unwrap().times.map(NonZeroU32::get);
        assert_eq!(times("leaktrace census --pid 7"), Some(1));
        assert_eq!(times("leaktrace census --pid 7 --every 5s"), None);
        assert_eq!(times("leaktrace census --pid 7 --times 3"), Some(3));
        let both = plan("leaktrace census --pid 7 --every 5s --times 3").unwrap();
        assert_eq!((both.every, both.times), (Duration::from_secs(5), NonZeroU32::new(3)));
    }

    #[test]
    fn lines_that_make_no_sense_are_refused_with_their_reason() {
        assert_eq!(plan("leaktrace census --pid 0"), Err(UsageError::PidZero));
        assert_eq!(plan("leaktrace census --pid 7 --times 0"), Err(UsageError::ZeroRoom("times")));
        assert_eq!(plan("leaktrace census --pid 7 --every 0s"), Err(UsageError::ZeroTime("every")));
    }
}
