//! Why a process's heap is not read.

use std::path::PathBuf;

use thiserror::Error;

use super::layout::{NEWEST, Version};
use crate::process::ProcessError;

#[derive(Debug, Error)]
pub enum Refused {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(
        "no glibc in process {pid}: its heap is another allocator's, which cannot be read from outside; \
         trace it instead: sudo leaktrace --pid {pid}"
    )]
    NoGlibc { pid: u32 },
    #[error(
        "process {pid} is a program of musl ({file}), whose heap cannot be read from outside; \
         trace it instead: sudo leaktrace --pid {pid}",
        file = file.display()
    )]
    Musl { pid: u32, file: PathBuf },
    #[error(
        "process {pid} has glibc, but its malloc comes from {file}, whose heap cannot be read from outside; \
         trace it instead: sudo leaktrace --pid {pid}",
        file = file.display()
    )]
    OtherAllocator { pid: u32, file: PathBuf },
    #[error(
        "process {pid} has glibc {version}, of which leaktrace does not know how it keeps its books \
         (it knows 2.26 to {NEWEST}); trace it instead: sudo leaktrace --pid {pid}"
    )]
    UnknownVersion { pid: u32, version: Version },
    #[error("the libc of process {pid} ({file}) does not say which version of glibc it is; \
         trace it instead: sudo leaktrace --pid {pid}", file = file.display())]
    NoVersion { pid: u32, file: PathBuf },
    #[error(
        "the heap of process {pid} is not as glibc {version} has it: {what}. \
         Nothing is guessed from such; trace it instead: sudo leaktrace --pid {pid}"
    )]
    Misfit { pid: u32, version: String, what: Misfit },
}

/// What did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    #[error(
        "no main_arena in its data (127 bins that point to themselves or to chunks); was malloc ever called?"
    )]
    NoArena,
    #[error("{0} places in its data look like main_arena")]
    ManyArenas(usize),
    #[error("the ring of arenas does not close at main_arena")]
    Ring,
    #[error("no mp_ in its data (sbrk_base at the heap's start beside malloc's statistics)")]
    NoParameters,
    #[error("{0} places in its data look like mp_")]
    ManyParameters(usize),
    #[error("the arena at {arena:#x} is not in a heap that says it is its")]
    Heap { arena: u64 },
    #[error("the first chunk of main_arena is not of the size of a thread's structure")]
    FirstChunk,
    #[error("its memory cannot be read, it may have ended")]
    Unreadable,
}
