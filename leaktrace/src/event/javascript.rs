//! What V8 does and what it runs.

use leaktrace_common::{
    process::ProcessId,
    v8::{FunctionKey, Sighting},
};

/// A process runs JavaScript. Sent when its tracing begins, and again when less is seen of it than was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    pub process: ProcessId,
    /// V8's own version, `11.3.244.8`.
    pub version: String,
    /// Mean bytes of allocation between two samples.
    pub interval: u64,
    /// What is not seen of it, and why: "survival of old objects: ...".
    pub unseen: Vec<String>,
    /// Whether the samples of what died are known to be dead.
    pub followed: bool,
}

/// A JavaScript function was seen in a stack for the first time, or interpreted for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    pub process: ProcessId,
    pub key: FunctionKey,
    /// Where it was then.
    pub seen: Sighting,
}

/// A collection of one heap. Sizes in bytes, times in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    pub process: ProcessId,
    /// Tells the heaps of one process apart.
    pub heap: u64,
    pub tid: u32,
    /// V8's own numbers.
    pub collector: u32,
    pub reason: u32,
    pub began: u64,
    pub ended: u64,
    /// None where V8 did not ask for it.
    pub before: Option<u64>,
    pub after: Option<u64>,
    /// Samples that were looked at, how many of them had died, and how long the program waited for that.
    pub looked_at: u32,
    pub died: u32,
    pub looking_ns: u32,
}

impl Collection {
    /// `v8::internal::GarbageCollector`:
    /// <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/common/globals.h>
    pub const MARK_COMPACTOR: u32 = 1;

    /// Whether the whole heap was collected, not just its young objects.
    #[must_use]
    pub const fn is_major(&self) -> bool {
        self.collector == Self::MARK_COMPACTOR
    }

    /// How long the program stood still.
    #[must_use]
    pub const fn pause_ns(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}
