//! Attaches programs to places in files.
//!
//! By `perf_event_open` and a BPF link each: a probe is bound to one process (others pay nothing) or to every
//! process that maps the file. Offsets are the caller's, computed from ELF segments.

use std::{num::NonZeroU32, path::Path};

use aya::programs::{
    ProgramError, UProbe,
    uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
};
use thiserror::Error;

use super::{Kernel, LoadError};

/// The uprobe programs of the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Entry of a function whose outcome is known at its return.
    CallEnter,
    /// The same function's return, by the kernel's return probe.
    CallReturn,
    /// The same function's return, by a probe on its `ret`: for functions that may throw.
    CallAtRet,
    /// Entry of a function that frees.
    FreeEnter,
    /// V8's own functions, see `leaktrace_common::v8::Point`.
    V8CollectEnter,
    V8CollectReturn,
    V8SizeReturn,
    V8YoungMoved,
    V8Marked,
    V8Evacuated,
    V8Refill,
    V8AllocateEnter,
    V8AllocateReturn,
    V8AllocateObserved,
    V8TearDown,
}

impl Program {
    pub(super) const ALL: [Self; 15] = [
        Self::CallEnter,
        Self::CallReturn,
        Self::CallAtRet,
        Self::FreeEnter,
        Self::V8CollectEnter,
        Self::V8CollectReturn,
        Self::V8SizeReturn,
        Self::V8YoungMoved,
        Self::V8Marked,
        Self::V8Evacuated,
        Self::V8Refill,
        Self::V8AllocateEnter,
        Self::V8AllocateReturn,
        Self::V8AllocateObserved,
        Self::V8TearDown,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CallEnter => "call_enter",
            Self::CallReturn => "call_return",
            Self::CallAtRet => "call_at_ret",
            Self::FreeEnter => "free_enter",
            Self::V8CollectEnter => "v8_collect_enter",
            Self::V8CollectReturn => "v8_collect_return",
            Self::V8SizeReturn => "v8_size_return",
            Self::V8YoungMoved => "v8_young_moved",
            Self::V8Marked => "v8_marked",
            Self::V8Evacuated => "v8_evacuated",
            Self::V8Refill => "v8_refill",
            Self::V8AllocateEnter => "v8_allocate_enter",
            Self::V8AllocateReturn => "v8_allocate_return",
            Self::V8AllocateObserved => "v8_allocate_observed",
            Self::V8TearDown => "v8_tear_down",
        }
    }
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub program: Program,
    /// Path that the kernel opens; `/proc/self/fd/N` works.
    pub file: &'a Path,
    /// Byte offset in the file.
    pub offset: u64,
    /// See `leaktrace_common::hook::Cookie`.
    pub cookie: u64,
    /// Only this process, or all that map the file.
    pub pid: Option<NonZeroU32>,
}

/// An attached probe; it goes when this is dropped. The kernel takes some 100 ms for each, one after another,
/// whoever asks: it waits until no thread can be in it any more.
#[must_use = "the probe is removed at once unless this is kept"]
pub struct Probe(#[expect(dead_code, reason = "held for its drop")] UProbeLink);

/// Why a probe could not be placed.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("no probe could be placed at offset {offset:#x} of {file}")]
    Refused { file: String, offset: u64, source: ProgramError },
    #[error("the trial of a return probe under a seccomp filter could not be made")]
    Trial(#[source] std::io::Error),
}

impl AttachError {
    /// Whether the reason is that the process is gone.
    #[must_use]
    pub fn target_gone(&self) -> bool {
        let Self::Refused { source: ProgramError::SyscallError(error), .. } = self else { return false };
        error.io_error.raw_os_error() == Some(libc::ESRCH)
    }
}

impl Kernel {
    /// Places one probe.
    pub fn attach(&mut self, place: &Place<'_>) -> Result<Probe, AttachError> {
        let Place { program, file, offset, cookie, pid } = *place;
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie),
        };
        let scope = pid.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        let uprobe: &mut UProbe = self.program(program.name())?;
        let link = uprobe.attach(point, file, scope).and_then(|id| uprobe.take_link(id));
        link.map(Probe).map_err(|source| AttachError::Refused {
            file: file.display().to_string(),
            offset,
            source,
        })
    }
}
