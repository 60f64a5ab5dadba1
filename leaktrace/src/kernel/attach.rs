//! Attaches programs to places in files.
//!
//! A probe is bound to one process (others pay nothing) or to every process that maps the file. Offsets are the
//! caller's, computed from ELF segments. One link holds all places of a program where the kernel can do that (see `multi`);
//! elsewhere each has a `perf_event_open` and a link of its own.

use std::{io, num::NonZeroU32, os::fd::OwnedFd, path::Path};

use aya::programs::{
    ProgramError, UProbe,
    uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
};
use thiserror::Error;

use super::{Kernel, LoadError};

/// The uprobe programs of the kernel side, in the order in which they are placed: what frees first, for a block must not be
/// seen to come and never to go; and returns before entries, so that no call is entered whose end would be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Entry of a function that frees.
    FreeEnter,
    /// The return of a function whose outcome is known then, by the kernel's return probe.
    CallReturn,
    /// The same function's return, by a probe on its `ret`: for functions that may throw.
    CallAtRet,
    /// The same function's entry.
    CallEnter,
    /// V8's own functions, see `leaktrace_common::v8::Point`.
    V8CollectReturn,
    V8CollectEnter,
    V8SizeReturn,
    V8YoungMoved,
    V8Marked,
    V8Evacuated,
    V8Refill,
    /// The same, run at the entry and, for a sample, at the return, which the object is known by: in place of the other where the
    /// kernel can do that.
    V8RefillSession,
    V8AllocateReturn,
    V8AllocateEnter,
    V8AllocateObserved,
    V8TearDown,
}

impl Program {
    pub(super) const ALL: [Self; 16] = [
        Self::FreeEnter,
        Self::CallReturn,
        Self::CallAtRet,
        Self::CallEnter,
        Self::V8CollectReturn,
        Self::V8CollectEnter,
        Self::V8SizeReturn,
        Self::V8YoungMoved,
        Self::V8Marked,
        Self::V8Evacuated,
        Self::V8Refill,
        Self::V8RefillSession,
        Self::V8AllocateReturn,
        Self::V8AllocateEnter,
        Self::V8AllocateObserved,
        Self::V8TearDown,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FreeEnter => "free_enter",
            Self::CallReturn => "call_return",
            Self::CallAtRet => "call_at_ret",
            Self::CallEnter => "call_enter",
            Self::V8CollectReturn => "v8_collect_return",
            Self::V8CollectEnter => "v8_collect_enter",
            Self::V8SizeReturn => "v8_size_return",
            Self::V8YoungMoved => "v8_young_moved",
            Self::V8Marked => "v8_marked",
            Self::V8Evacuated => "v8_evacuated",
            Self::V8Refill => "v8_refill",
            Self::V8RefillSession => "v8_refill_session",
            Self::V8AllocateReturn => "v8_allocate_return",
            Self::V8AllocateEnter => "v8_allocate_enter",
            Self::V8AllocateObserved => "v8_allocate_observed",
            Self::V8TearDown => "v8_tear_down",
        }
    }

    /// Whether it is run at the entry and at the return, if it says so.
    pub(super) const fn is_session(self) -> bool {
        matches!(self, Self::V8RefillSession)
    }

    /// Whether it is run by a return probe.
    pub(super) const fn is_at_return(self) -> bool {
        matches!(self, Self::CallReturn | Self::V8CollectReturn | Self::V8SizeReturn | Self::V8AllocateReturn)
    }
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub program: Program,
    /// Byte offset in the file.
    pub offset: u64,
    /// See `leaktrace_common::hook::Cookie`.
    pub cookie: u64,
}

/// Attached probes; they go when this is dropped. The kernel takes some 100 ms for each link: it waits until no thread can
/// be in one of them any more.
#[must_use = "the probes are removed at once unless this is kept"]
pub struct Probe(Link);

impl Probe {
    /// For what the kernel takes back by itself, with others waiting for it: its number among the places of its program.
    #[must_use]
    pub const fn turn(&self) -> Option<usize> {
        if let Link::One(_, turn) = self.0 { Some(turn) } else { None }
    }
}

/// What holds probes in place.
#[expect(dead_code, reason = "held for their drop")]
enum Link {
    One(UProbeLink, usize),
    Many(OwnedFd),
}

/// Why a probe could not be placed.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("no probe could be placed at offset {offset:#x} of {file}")]
    Refused { file: String, offset: u64, source: ProgramError },
    #[error("the process ended before its probes were placed")]
    Gone,
    #[error("the trial of a return probe under a seccomp filter could not be made")]
    Trial(#[source] io::Error),
}

impl AttachError {
    /// Whether the reason is that the process is gone.
    #[must_use]
    pub fn target_gone(&self) -> bool {
        match self {
            Self::Gone => true,
            Self::Refused { source: ProgramError::SyscallError(error), .. } => is_gone(&error.io_error),
            _ => false,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

impl Kernel {
    /// Places probes in a file: in one process, or in all that map it.
    ///
    /// # Errors
    /// One could not be placed. Then none is.
    pub fn attach(
        &mut self,
        file: &Path,
        pid: Option<NonZeroU32>,
        places: &[Place],
    ) -> Result<Vec<Probe>, AttachError> {
        let places = &self.with_sessions(places);
        let programs = self.load_for(places)?;
        let mut placed = Vec::with_capacity(programs.len());
        for program in programs {
            let places: Vec<&Place> = places.iter().filter(|place| place.program == program).collect();
            match self.multi.as_ref().map(|multi| multi.link(program, file, pid, &places)) {
                Some(Ok(link)) => placed.push(Probe(Link::Many(link))),
                Some(Err(error)) if is_gone(&error) => return Err(AttachError::Gone),
                Some(Err(error)) if program.is_session() => {
                    let (file, offset) = (file.display().to_string(), places[0].offset);
                    return Err(AttachError::Refused { file, offset, source: ProgramError::IOError(error) });
                }
                // A link for each says which place it was, if it is one.
                Some(Err(_)) | None => {
                    self.load_one_by_one(&[program])?;
                    for (turn, place) in places.into_iter().enumerate() {
                        placed.push(Probe(Link::One(self.attach_one(file, pid, place)?, turn)));
                    }
                }
            }
        }
        Ok(placed)
    }

    /// Loads what these will need, as the verifier takes up to a second for a program: so that to attach is then a matter of a
    /// moment.
    ///
    /// # Errors
    /// The kernel refuses a program.
    pub fn prepare(&mut self, places: &[Place]) -> Result<(), AttachError> {
        let places = self.with_sessions(places);
        self.load_for(&places)?;
        Ok(())
    }

    fn load_for(&mut self, places: &[Place]) -> Result<Vec<Program>, AttachError> {
        let mut programs: Vec<Program> = places.iter().map(|place| place.program).collect();
        programs.sort_unstable();
        programs.dedup();
        self.load_programs(&programs)?;
        Ok(programs)
    }

    /// The same places, where the kernel has them with the program that sees the returns which it asks for.
    fn with_sessions(&mut self, places: &[Place]) -> Vec<Place> {
        let mut places = places.to_vec();
        for place in &mut places {
            if place.program == Program::V8Refill && self.has_sessions() {
                place.program = Program::V8RefillSession;
            }
        }
        places
    }

    fn attach_one(
        &mut self,
        file: &Path,
        pid: Option<NonZeroU32>,
        place: &Place,
    ) -> Result<UProbeLink, AttachError> {
        let Place { program, offset, cookie } = *place;
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie),
        };
        let scope = pid.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        let uprobe: &mut UProbe = self.program(program.name())?;
        let link = uprobe.attach(point, file, scope).and_then(|id| uprobe.take_link(id));
        link.map_err(|source| AttachError::Refused { file: file.display().to_string(), offset, source })
    }
}
