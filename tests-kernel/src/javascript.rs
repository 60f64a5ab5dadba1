//! The report's part on JavaScript heaps. Their bytes are estimates from samples, and a block is a sample.

use serde::Deserialize;

use crate::report::{Frame, Report, Stack};

#[derive(Debug, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub state: String,
    pub javascript: Option<JavaScript>,
}

#[derive(Debug, Deserialize)]
pub struct JavaScript {
    pub engine: String,
    pub sample_interval: u64,
    pub refills_seen: f64,
    pub unseen: Vec<String>,
    pub followed: bool,
    pub sampled_bytes: u64,
    pub live: Estimate,
    pub types: Vec<Type>,
    pub minor: CollectionTotals,
    pub major: CollectionTotals,
    pub collections: Vec<Cycle>,
    pub collections_left_out: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Estimate {
    pub bytes: u64,
    /// Half of the 95 % confidence interval.
    pub error_bytes: u64,
    pub samples: u64,
}

#[derive(Debug, Deserialize)]
pub struct Type {
    pub name: String,
    #[serde(flatten)]
    pub live: Estimate,
}

/// What is live after `from` to `to` whole collections.
#[derive(Debug, Deserialize)]
pub struct Generation {
    pub from: u32,
    pub to: u32,
    #[serde(flatten)]
    pub live: Estimate,
}

#[derive(Debug, Deserialize)]
pub struct CollectionTotals {
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
    pub looking_ns: u64,
}

/// One collection.
#[derive(Debug, Deserialize)]
pub struct Cycle {
    pub at_ns: u64,
    pub pause_ns: u64,
    pub collector: String,
    pub reason: String,
    pub heap: String,
    pub tid: u32,
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub samples: u32,
    pub samples_died: u32,
}

impl Report {
    /// What was found of V8 in this process.
    #[must_use]
    pub fn javascript(&self, pid: u32) -> Option<&JavaScript> {
        self.processes.iter().find(|process| process.pid == pid)?.javascript.as_ref()
    }

    pub fn of_javascript(&self) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter(|stack| stack.kind == "javascript")
    }
}

impl Stack {
    /// The innermost frame of a file whose name ends so.
    #[must_use]
    pub fn innermost_in(&self, file: &str) -> Option<&Frame> {
        self.frames.iter().map(AsRef::as_ref).find(|frame| frame.is_in(file))
    }
}

impl Frame {
    #[must_use]
    pub fn is_in(&self, file: &str) -> bool {
        self.file.as_deref().is_some_and(|own| own.ends_with(file))
    }
}
