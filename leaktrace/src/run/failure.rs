//! Why a run failed, and the exit code that says so.

use std::path::PathBuf;

use thiserror::Error;

use super::{launch::LaunchError, output::OutputError};
use crate::{
    binary::loader::LoaderError,
    cli::exit::Exit,
    heap_reader::Refused,
    kernel::{LoadError, attach::AttachError, features::Missing},
    process::ProcessError,
    recording::{self, Rest},
    report::duration,
    symbolize::SymbolizeError,
    verdict::Unreadable,
};

/// Every way a run can fail before or while it traces.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Heap(Refused),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Symbolize(#[from] SymbolizeError),
    #[error("process {pid} ended before it was traced; is it still running? pgrep -a NAME")]
    EndedBefore { pid: u32 },
    #[error("--lib {path} cannot be opened: {source}")]
    Library { path: String, source: std::io::Error },
    #[error(
        "nothing to trace in process {pid} ({comm}): no known allocator in it.\n{reasons}\
         If it has an allocator of its own, name its functions' prefix: --prefix my_ (for my_malloc, my_free)"
    )]
    NothingToTrace { pid: u32, comm: String, reasons: String },
    #[error(
        "process {pid} has a seccomp filter, and on this kernel a return probe would end it \
         (Linux 6.11 to 6.13 let the filter see the probe's own system call).\n\
         Trace it on a kernel from 6.14 on, or let its filter allow system call 335 (uretprobe)"
    )]
    WouldEndTarget { pid: u32 },
    #[error("--suppress {path} cannot be read: {source}; give a file with one leak:PATTERN a line")]
    SuppressFile { path: String, source: std::io::Error },
    #[error(transparent)]
    Suppress(#[from] Unreadable),
    #[error("cannot read {}: {why}", path.display())]
    Recorded { path: PathBuf, why: recording::Unreadable },
    #[error("{}: {rest}; reported is its last whole moment. Take another copy of the file if there is one", path.display())]
    Damaged { path: PathBuf, rest: Rest },
    #[error(
        "{} has nothing that early: its first moment is {} after tracing began. Leave out --at, or see leaktrace report \
         --moments", path.display(), duration(*first_ns)
    )]
    TooEarly { path: PathBuf, first_ns: u64 },
    #[error(
        "not everything was recorded: {} could not be written at some time; what is in it: leaktrace report {}",
        path.display(), path.display()
    )]
    Recording { path: PathBuf, source: std::io::Error },
    #[error(
        "--metrics {address}: {source}; give an address of this machine and a free port, such as 127.0.0.1:9464"
    )]
    Metrics { address: String, source: std::io::Error },
    #[error("--push {url}: the last profile was not taken: {why}")]
    Push { url: String, why: String },
    #[error("--fail-on: a {0} was found, see the report")]
    Found(&'static str),
    #[error("--fail-on: nothing of that was found, but the program itself failed ({0})")]
    ProgramFailed(std::process::ExitStatus),
    #[error("{doing} failed")]
    Io { doing: &'static str, source: std::io::Error },
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Process(error) => Self::Process(error),
            other => Self::Heap(other),
        }
    }
}

impl Failure {
    /// The documented exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Load(error) | Self::Attach(AttachError::Load(error)) => load_exit(error),
            Self::Process(ProcessError::NoPermission { .. }) => Exit::NoPermission,
            Self::Process(
                ProcessError::NoSuchProcess { .. }
                | ProcessError::KernelThread { .. }
                | ProcessError::Thread { .. }
                | ProcessError::Zombie { .. },
            )
            | Self::EndedBefore { .. }
            | Self::Launch(_)
            | Self::Loader(_) => Exit::NoTarget,
            Self::Output(_)
            | Self::Library { .. }
            | Self::SuppressFile { .. }
            | Self::Suppress(_)
            | Self::TooEarly { .. }
            | Self::Metrics { .. }
            | Self::Recorded {
                why:
                    recording::Unreadable::Io(_)
                    | recording::Unreadable::Empty
                    | recording::Unreadable::Foreign
                    | recording::Unreadable::Newer { .. },
                ..
            } => Exit::Usage,
            Self::Found(_) => Exit::Found,
            Self::ProgramFailed(_) => Exit::ProgramFailed,
            Self::NothingToTrace { .. } | Self::Heap(_) => Exit::NothingToTrace,
            Self::WouldEndTarget { .. } => Exit::Kernel,
            Self::Attach(_)
            | Self::Process(_)
            | Self::Symbolize(_)
            | Self::Recorded { .. }
            | Self::Damaged { .. }
            | Self::Recording { .. }
            | Self::Push { .. }
            | Self::Io { .. } => Exit::Failure,
        }
    }
}

fn load_exit(error: &LoadError) -> Exit {
    match error {
        LoadError::Missing(Missing::Capabilities(_) | Missing::PerfEvents { .. }) => Exit::NoPermission,
        LoadError::Missing(_) | LoadError::Btf(_) | LoadError::Program { .. } | LoadError::Object(_) => {
            Exit::Kernel
        }
        LoadError::NotInObject(_) | LoadError::Table { .. } => Exit::Failure,
    }
}
