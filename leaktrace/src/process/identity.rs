//! Who a pid is: pids are given out again, a pid with its start time is not.

use std::{
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use procfs::{
    ProcError, WithCurrentSystemInfo as _,
    process::{ProcState, Process, Stat, StatFlags},
};

use super::ProcessError;

/// One process, told from any later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
    /// The kernel's short name of it, at most 15 bytes.
    pub comm: String,
    /// Its arguments, joined by spaces; `comm` where it has none.
    pub command: String,
    /// What it executes. The path is the process's own view and may be deleted or of another mount namespace.
    pub executable: PathBuf,
}

impl Identity {
    /// # Errors
    /// No such process, or one whose memory cannot be traced: see [`ProcessError`].
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        let wrong = |file: &str, error| of_procfs(pid, file, error);
        // A larger pid than the kernel's type holds is none.
        let process = i32::try_from(pid)
            .map_err(|_| ProcessError::NoSuchProcess { pid })
            .and_then(|pid| Process::new(pid).map_err(|error| wrong("", error)))?;
        let stat = process.stat().map_err(|error| wrong("stat", error))?;
        if StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD) {
            return Err(ProcessError::KernelThread { pid, comm: stat.comm });
        }
        let status = process.status().map_err(|error| wrong("status", error))?;
        // /proc/TID exists for every thread, though a listing of /proc does not show it.
        if status.tgid.unsigned_abs() != pid {
            return Err(ProcessError::Thread { pid, process: status.tgid.unsigned_abs() });
        }
        if matches!(stat.state().map_err(|error| wrong("stat", error))?, ProcState::Zombie | ProcState::Dead)
        {
            return Err(ProcessError::Zombie { pid, comm: stat.comm });
        }
        let executable = process.exe().map_err(|error| wrong("exe", error))?;
        let arguments = process.cmdline().map_err(|error| wrong("cmdline", error))?;
        let command = if arguments.is_empty() { stat.comm.clone() } else { arguments.join(" ") };
        Ok(Self {
            pid,
            start_time: stat.starttime,
            comm: stat.comm,
            command,
            executable: without_deleted(&executable).0,
        })
    }

    /// Whether the pid still is this process. An exec does not change that.
    #[must_use]
    pub fn still_the_same(&self) -> bool {
        stat_of(self.pid)
            .is_some_and(|stat| stat.starttime == self.start_time && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// The arguments of a process, joined by spaces; none of one that has none, or is gone. [`Identity::of`] asks four files more,
/// which is much where some hundred programs start in a second.
#[must_use]
pub fn command_of(pid: u32) -> Option<String> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(&arguments);
    (!arguments.is_empty()).then(|| String::from_utf8_lossy(arguments).replace('\0', " "))
}

/// When a process began, in clock ticks from boot; none of one that is gone.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    stat_of(pid).map(|stat| stat.starttime)
}

/// When a process began, to the second; none where it is gone, or the machine's clock says nothing.
#[must_use]
pub fn started(pid: u32) -> Option<SystemTime> {
    let since_boot = Duration::from_secs(start_of(pid)? / procfs::ticks_per_second());
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(procfs::boot_time_secs().ok()?) + since_boot)
}

/// CPU time of all threads that a process has had, and bytes of its memory that are resident; none where it is gone.
#[must_use]
pub fn usage_of(pid: u32) -> Option<(Duration, u64)> {
    let stat = stat_of(pid)?;
    let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Some((Duration::from_secs_f64(seconds), stat.rss_bytes().get()))
}

fn stat_of(pid: u32) -> Option<Stat> {
    Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()
}

/// The path without the mark that the kernel adds when the file has been unlinked, and whether it was there.
pub(super) fn without_deleted(path: &Path) -> (PathBuf, bool) {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(bytes) => (std::ffi::OsString::from_vec(bytes.to_vec()).into(), true),
        None => (path.to_owned(), false),
    }
}

fn of_procfs(pid: u32, file: &str, error: ProcError) -> ProcessError {
    let path: PathBuf = format!("/proc/{pid}/{file}").into();
    match error {
        ProcError::PermissionDenied(_) => ProcessError::NoPermission { pid, path },
        ProcError::NotFound(_) => ProcessError::NoSuchProcess { pid },
        ProcError::Io(source, _) => ProcessError::of_io(pid, path, source),
        other => ProcessError::Unexpected { pid, path, what: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn this_process_is_itself_and_stays_so() {
        let me = Identity::of(std::process::id()).unwrap();
        assert_eq!(me.executable, std::env::current_exe().unwrap());
        assert!(me.start_time > 0);
        assert!(me.still_the_same());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.still_the_same());
    }

    #[test]
    fn a_command_is_what_an_identity_says_it_is() {
        let pid = std::process::id();
        assert_eq!(command_of(pid), Some(Identity::of(pid).unwrap().command));
        assert_eq!(command_of(u32::MAX), None);
        let mut ended = Command::new("true").spawn().unwrap();
        while !matches!(Identity::of(ended.id()), Err(ProcessError::Zombie { .. })) {}
        assert_eq!(command_of(ended.id()), None);
        ended.wait().unwrap();
    }

    #[test]
    fn what_a_process_uses_is_read_in_bytes_and_in_seconds() {
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let (cpu, resident) = usage_of(std::process::id()).unwrap();
        assert!(resident > held.len() as u64 && resident < 64 << 30, "{resident}");
        let begun = std::time::Instant::now();
        while usage_of(std::process::id()).unwrap().0 == cpu {
            assert!(begun.elapsed() < Duration::from_secs(60), "its time stands still");
        }
        assert_eq!(usage_of(u32::MAX), None);
    }

    #[test]
    fn a_process_began_when_it_was_started() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (began, now) = (started(child.id()).unwrap(), SystemTime::now());
        child.kill().unwrap();
        child.wait().unwrap();
        let apart = now.duration_since(began).unwrap_or_else(|early| early.duration());
        assert!(apart < Duration::from_secs(3), "{apart:?}");
        assert_eq!(started(u32::MAX), None);
    }

    #[test]
    fn a_pid_that_is_not_there_is_no_such_process() {
        for pid in [0, u32::MAX, 0x3fff_ffff] {
            assert!(matches!(Identity::of(pid), Err(ProcessError::NoSuchProcess { .. })), "{pid}");
        }
    }

    #[test]
    fn a_thread_is_told_which_process_it_belongs_to() {
        let thread = std::thread::spawn(|| {
            let tid = std::fs::read_link("/proc/thread-self").unwrap();
            let tid: u32 = tid.file_name().unwrap().to_str().unwrap().parse().unwrap();
            Identity::of(tid)
        });
        let error = thread.join().unwrap().unwrap_err();
        let me = std::process::id();
        assert!(matches!(error, ProcessError::Thread { process, .. } if process == me), "{error}");
        assert!(error.to_string().contains(&format!("--pid {me}")));
    }

    #[test]
    fn a_process_that_ended_unawaited_is_a_zombie() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let zombie = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Identity::of(pid).err()
        });
        assert!(matches!(zombie, Some(ProcessError::Zombie { .. })), "{zombie:?}");
        child.wait().unwrap();
    }

    #[test]
    fn a_kernel_thread_is_refused_by_name() {
        // kthreadd, wherever its pid namespace can be seen.
        match std::fs::read_to_string("/proc/2/comm") {
            Ok(comm) if comm == "kthreadd\n" => {
                let error = Identity::of(2).unwrap_err();
                assert!(matches!(error, ProcessError::KernelThread { .. }), "{error}");
            }
            _ => crate::say!("skipped: kernel threads are not in this pid namespace"),
        }
    }

    #[test]
    fn only_the_mark_at_the_end_means_deleted() {
        assert_eq!(without_deleted(Path::new("/a (deleted)")), ("/a".into(), true));
        assert_eq!(without_deleted(Path::new("/a (deleted)/b")), ("/a (deleted)/b".into(), false));
    }
}
