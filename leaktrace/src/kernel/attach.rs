//! Attaches programs to places in files.
//!
//! By `perf_event_open` and a BPF link each: a probe is bound to one process (others pay nothing) or to every
//! process that maps the file. Offsets are the caller's, computed from ELF segments.

use std::{num::NonZeroU32, path::Path};

use aya::programs::{
    ProgramError, UProbe,
    uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
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
}

impl Program {
    pub(super) const ALL: [Self; 4] = [Self::CallEnter, Self::CallReturn, Self::CallAtRet, Self::FreeEnter];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CallEnter => "call_enter",
            Self::CallReturn => "call_return",
            Self::CallAtRet => "call_at_ret",
            Self::FreeEnter => "free_enter",
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

/// An attached probe; it goes when the [`Kernel`] does, or by [`Kernel::detach`].
#[derive(Debug)]
pub struct Probe {
    program: Program,
    link: UProbeLinkId,
}

/// Why a probe could not be placed or removed.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("no probe could be placed at offset {offset:#x} of {file}")]
    Refused { file: String, offset: u64, source: ProgramError },
    #[error("the trial of a return probe under a seccomp filter could not be made")]
    Trial(#[source] std::io::Error),
    #[error("a probe could not be removed; it goes when leaktrace ends")]
    Detach(#[source] ProgramError),
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
        let link = uprobe.attach(point, file, scope).map_err(|source| AttachError::Refused {
            file: file.display().to_string(),
            offset,
            source,
        })?;
        Ok(Probe { program, link })
    }

    /// Removes one probe.
    pub fn detach(&mut self, probe: Probe) -> Result<(), AttachError> {
        let uprobe: &mut UProbe = self.program(probe.program.name())?;
        uprobe.detach(probe.link).map_err(AttachError::Detach)
    }
}
