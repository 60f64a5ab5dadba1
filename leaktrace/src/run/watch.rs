//! Tells when a process ends, by its pidfd: no polling of /proc, and a reused pid is never mistaken for it.

#![allow(unsafe_code, reason = "pidfd_open has no safe form in the standard library")]

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};

/// Ends that are taken in at one time.
const AT_ONCE: usize = 1024;

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
}

/// Tells which of many processes have ended, at the same price however many they are.
#[derive(Debug)]
pub(super) struct Ends(OwnedFd);

impl Ends {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// From now on until `watched` is dropped its end is told, as `key`.
    pub(super) fn add(&self, watched: &Watched, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, &watched.0, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?)
    }

    /// Those of which every thread is gone, or some of many: the others are told the next time.
    pub(super) fn ended(&self) -> io::Result<Vec<u64>> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(AT_ONCE);
        loop {
            match epoll::wait(
                &self.0,
                rustix::buffer::spare_capacity(&mut events),
                Some(&Timespec::default()),
            ) {
                Ok(_) => return Ok(events.iter().map(|event| event.data.u64()).collect()),
                // A signal that is due, Ctrl-C say, ends even a call that does not wait.
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn those_that_end_are_told_of_many() {
        let ends = Ends::new().unwrap();
        let start = || Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut children = [start(), start(), start()];
        let watched: Vec<_> = children.iter().map(|child| Watched::open(child.id()).unwrap()).collect();
        watched.iter().zip(0..).for_each(|(watched, key)| ends.add(watched, key).unwrap());
        assert!(ends.ended().unwrap().is_empty());
        children[1].kill().unwrap();
        children[1].wait().unwrap();
        assert_eq!(ends.ended().unwrap(), [1]);
        assert_eq!(ends.ended().unwrap(), [1], "until it is dropped");
        drop(watched);
        assert!(ends.ended().unwrap().is_empty());
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
