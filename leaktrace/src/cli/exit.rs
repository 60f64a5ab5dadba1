//! Exit codes: fixed, documented in `--help` and the README, tested.

use std::process::ExitCode;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Traced and reported.
    Success = 0,
    /// Something failed while tracing; what was gathered was printed.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such process, or it ended before it was traced.
    NoTarget = 3,
    /// A capability is missing.
    NoPermission = 4,
    /// No allocator was found in the process.
    NothingToTrace = 5,
    /// The kernel lacks something.
    Kernel = 6,
    /// What `--fail-on` names was found.
    Found = 7,
    /// With `--fail-on`, nothing was found, and the program that leaktrace started failed.
    ProgramFailed = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
