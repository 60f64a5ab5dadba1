//! A process as the books know it.

use leaktrace_common::process::ProcessId;

use super::Regions;

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    /// Its books show what was live at this moment.
    Exited {
        at: u64,
    },
    /// It runs another program now, under another [`ProcessId`]; its memory is gone.
    Replaced {
        at: u64,
    },
}

impl State {
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Exited { .. } => "exited",
            Self::Replaced { .. } => "replaced by exec",
        }
    }

    #[must_use]
    pub const fn ended(self) -> Option<u64> {
        match self {
            Self::Running => None,
            Self::Exited { at } | Self::Replaced { at } => Some(at),
        }
    }
}

#[derive(Debug)]
pub struct Process {
    pub id: ProcessId,
    pub pid: u32,
    /// Empty until the agent said it.
    pub comm: String,
    pub command: String,
    /// When its tracing began, in nanoseconds of `CLOCK_MONOTONIC`; none until known.
    pub since: Option<u64>,
    pub state: State,
    pub(super) regions: Regions,
    /// A snapshot was taken after its end: its blocks are final, whatever later snapshots say.
    pub(super) settled: bool,
}

impl Process {
    pub(super) fn new(id: ProcessId, pid: u32, page: u64) -> Self {
        Self {
            id,
            pid,
            comm: String::new(),
            command: String::new(),
            since: None,
            state: State::Running,
            regions: Regions::new(page),
            settled: false,
        }
    }

    pub(super) fn began(&mut self, at: u64) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
    }
}
