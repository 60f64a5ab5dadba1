//! A running process as /proc shows it: who it is, what it has mapped, and the files behind that.
//!
//! The only module that uses the `procfs` crate. Everything here is a snapshot: a process may map, exec or end
//! between two calls, so callers compare [`Identity`] where that matters. Watching for such changes is the
//! kernel side's part.

mod file;
mod identity;
mod kept;
mod mappings;
mod memory;
mod pages;
mod root;
mod selection;

use std::{io, os::unix::fs::MetadataExt, path::PathBuf};

use thiserror::Error;

pub use self::{
    file::{FileId, OpenBinary},
    identity::{Identity, command_of, start_of, started, usage_of},
    kept::Kept,
    mappings::{Device, Mapping, MappingKind, Mappings},
    memory::{Memory, ReadUser},
    pages::{Pages, Resident},
    root::Root,
    selection::Selection,
};

/// Inode of the pid namespace that the kernel boots with (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

#[derive(Debug, Error)]
pub enum ProcessError {
    #[error(
        "no process {pid}: it has ended, or this user may not see it (hidepid); find the right one with `pgrep -a NAME`"
    )]
    NoSuchProcess { pid: u32 },
    #[error("{pid} ({comm}) is a kernel thread: it has no heap of its own; give the pid of a program")]
    KernelThread { pid: u32, comm: String },
    #[error(
        "{pid} is a thread of process {process}, and memory belongs to the whole process; use --pid {process}"
    )]
    Thread { pid: u32, process: u32 },
    #[error(
        "process {pid} ({comm}) has ended and waits for its parent to notice: its memory is gone already"
    )]
    Zombie { pid: u32, comm: String },
    #[error(
        "not allowed to look into process {pid} ({path}): CAP_SYS_PTRACE is missing; run leaktrace with sudo",
        path = path.display()
    )]
    NoPermission { pid: u32, path: PathBuf },
    #[error("process {pid}: {path} cannot be read: {source}", path = path.display())]
    Unreadable { pid: u32, path: PathBuf, source: io::Error },
    #[error("process {pid}: {path} does not say what was expected ({what}); is /proc really procfs?", path = path.display())]
    Unexpected { pid: u32, path: PathBuf, what: String },
    #[error(
        "process {pid} has {path} mapped, but that path holds another file now and the mapped one is out of reach; \
         run leaktrace with sudo (CAP_SYS_ADMIN opens replaced files), or restart the process",
        path = path.display()
    )]
    Replaced { pid: u32, path: PathBuf },
    #[error("{path} is larger than {limit} bytes, more than is read into memory", path = path.display())]
    TooLarge { path: PathBuf, limit: u64 },
}

impl ProcessError {
    /// What a failed look at `path`, a file of process `pid`, means.
    fn of_io(pid: u32, path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NoPermission { pid, path },
            // ESRCH is what /proc answers when the process ends between open and read.
            _ if source.raw_os_error() == Some(libc::ESRCH) => Self::NoSuchProcess { pid },
            _ => Self::Unreadable { pid, path, source },
        }
    }
}

/// A field of /proc/PID/status, by its name with the colon.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The perf map that a runtime writes about the code it makes, named by the pid that it knows itself by. Anyone can put
/// something else there: what is no regular file in the process's own tree is none.
#[must_use]
pub fn perf_map(pid: u32) -> Option<std::fs::File> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let innermost = field(&status, "NSpid:")?.split_whitespace().last()?;
    Root::at(&Root::of(pid)).ok()?.open(format!("/tmp/perf-{innermost}.map").as_ref()).ok()
}

/// Whether a process has given up system calls by a seccomp filter. Every thread is asked, as each has its own.
///
/// # Errors
/// The process has ended, or this user may not look into it.
pub fn has_seccomp_filter(pid: u32) -> Result<bool, ProcessError> {
    let folder: PathBuf = format!("/proc/{pid}/task").into();
    let threads = std::fs::read_dir(&folder).map_err(|error| ProcessError::of_io(pid, folder, error))?;
    Ok(threads.flatten().any(|thread| {
        // A thread that ended meanwhile has none.
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        field(&status, "Seccomp:").is_some_and(|mode| mode != "0")
    }))
}

/// The threads of a process.
///
/// # Errors
/// The process has ended.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    numbers_in(&format!("/proc/{pid}/task"))
}

fn numbers_in(folder: &str) -> io::Result<Vec<u32>> {
    let names = std::fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Every process that /proc lists; those that begin meanwhile may be missing.
///
/// # Errors
/// /proc is not mounted.
pub fn all() -> io::Result<Vec<u32>> {
    numbers_in("/proc")
}

/// Whether a process's first thread waits in the kernel: what is known of its registers is then how they are.
#[must_use]
pub fn first_thread_waits(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, also brackets.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['S', 'D']))
}

/// Whether pids mean the same to this process as to the kernel side, which sees those of the initial
/// namespace. In a container they do not.
///
/// # Errors
/// /proc is not mounted.
pub fn in_initial_pid_namespace() -> io::Result<bool> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino() == INITIAL_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_namespace_is_known_by_the_name_the_kernel_gives_it() {
        let name = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let initial = name.to_str() == Some("pid:[4026531836]");
        assert_eq!(in_initial_pid_namespace().unwrap(), initial);
    }

    #[test]
    fn a_perf_map_that_is_a_pipe_or_leads_elsewhere_is_none_and_holds_nobody_up() {
        let path: PathBuf = format!("/tmp/perf-{}.map", std::process::id()).into();
        assert!(perf_map(std::process::id()).is_none());
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(perf_map(std::process::id()).is_none());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(perf_map(std::process::id()).is_none());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1000 10 f\n").unwrap();
        let map = io::read_to_string(perf_map(std::process::id()).unwrap()).unwrap();
        assert_eq!(map, "1000 10 f\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_refusal_names_the_capability_and_what_to_type() {
        let error = ProcessError::of_io(7, "/proc/7/maps".into(), io::ErrorKind::PermissionDenied.into());
        let text = error.to_string();
        assert!(text.contains("CAP_SYS_PTRACE") && text.contains("sudo"), "{text}");
    }
}
