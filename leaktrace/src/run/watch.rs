//! Tells when a process ends, by its pidfd: no polling of /proc, and a reused pid is never mistaken for it.

#![allow(unsafe_code, reason = "pidfd_open has no safe form in the standard library")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// A process, held by its pidfd.
#[derive(Debug)]
pub(super) struct Watched(OwnedFd);

impl Watched {
    /// `ESRCH` if there is no such process any more.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: takes two numbers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Whether every thread of it is gone.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one pollfd is passed, and 0 ms means that it does not wait.
            let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
            if ready >= 0 {
                return Ok(ready > 0);
            }
            let error = io::Error::last_os_error();
            // A signal that is due, Ctrl-C say, ends even a call that does not wait.
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_seen_to_end() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let watched = Watched::open(child.id()).unwrap();
        assert!(!watched.has_ended().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(watched.has_ended().unwrap());
    }
}
