//! What the agent found out itself and puts into the stream, so that a recording of it is complete: who a
//! process is, what its executable mappings are, which file a [`BinaryId`] means and which function a hook.

use leaktrace_common::process::ProcessId;

/// A file with code, given out by the agent once per distinct file (device, inode, build id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinaryId(pub u32);

/// A position in a file, in bytes. Neither an address in a process nor one in an ELF file's own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    Binary(BinaryId),
    /// Executable memory without a file: code made at run time.
    Anonymous,
    /// The code that the kernel maps into every process.
    Vdso,
}

/// Executable addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Of `start` in the file; 0 where there is none.
    pub offset: FileOffset,
    pub backing: Backing,
}

/// All executable mappings of a process, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Mappings {
    pub process: ProcessId,
    pub list: Vec<Mapping>,
}

/// Who a process is. Sent when its tracing begins, after an exec and for a followed child.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    pub process: ProcessId,
    pub pid: u32,
    /// As `/proc/PID/comm` has it.
    pub comm: String,
    /// The command line, joined by spaces.
    pub command: String,
    /// When tracing began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
}

/// The file behind a [`BinaryId`], as the traced process sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub id: BinaryId,
    pub path: String,
}

/// The function behind a hook's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooked {
    pub number: u16,
    pub function: String,
}
