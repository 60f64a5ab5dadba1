//! Whether return probes are safe in a process that has a seccomp filter.
//!
//! From Linux 6.11 on, x86_64's return probes end in a system call of their own (`uretprobe`, 335). Filters that
//! do not know it (Docker's and systemd's of the time) refuse it, and the traced process dies
//! (<https://github.com/systemd/systemd/issues/34615>). Later kernels let it pass unfiltered, and so do stable
//! and vendor kernels with the change taken back: no version number tells, so it is tried, on a child of our own.

#![allow(unsafe_code, reason = "fork, seccomp and waitpid have no safe form in the standard library")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "a forked child is a row of system calls")]

use std::{
    hint::black_box,
    io::{self, Write as _},
    num::NonZeroU32,
    os::fd::AsRawFd as _,
    path::Path,
};

use super::{
    Kernel,
    attach::{AttachError, Place, Program},
};

const URETPROBE: u32 = 335;

/// What the child calls under its filter, with a return probe on it.
#[inline(never)]
extern "C" fn probed(value: u64) -> u64 {
    black_box(value) + 1
}

impl Kernel {
    /// Tries a return probe on a child that refuses unknown system calls.
    ///
    /// # Errors
    /// The trial itself failed, which says nothing about the probes.
    pub fn return_probes_pass_seccomp(&mut self) -> Result<bool, AttachError> {
        let trial = |error: io::Error| AttachError::Trial(error);
        let offset = file_offset(probed as *const () as u64).map_err(trial)?;
        let (wait, mut go) = io::pipe().map_err(trial)?;
        // SAFETY: the child only makes system calls and calls `probed`, then ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as said above; it never returns.
            unsafe { child_main(wait.as_raw_fd()) };
        }
        let pid = u32::try_from(child).ok().and_then(NonZeroU32::new);
        let pid = pid.ok_or_else(|| trial(io::Error::last_os_error()))?;
        let place = Place { program: Program::CallReturn, offset, cookie: 0 };
        let attached = self.attach(Path::new("/proc/self/exe"), Some(pid), &[place]);
        // With no probe the child is let go all the same, and ends.
        let told = go.write_all(&[1]);
        let mut status = 0;
        // SAFETY: waits for our own child and writes to `status`.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        drop(attached?);
        told.map_err(trial)?;
        if waited != child {
            return Err(trial(io::Error::last_os_error()));
        }
        Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
    }
}

/// Waits, takes a filter, calls the probed function and ends with 0 if it came back right.
///
/// # Safety
/// Must run in a freshly forked child.
unsafe fn child_main(wait: i32) -> ! {
    let mut filter = filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let mut go = 0u8;
    // SAFETY: system calls with pointers to live locals; a child killed by its own filter leaves no core file.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::read(wait, (&raw mut go).cast(), 1);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        {
            libc::_exit(2);
        }
        let right = probed(black_box(41)) == 42;
        libc::_exit(i32::from(!right));
    }
}

/// Refuses one system call and allows the others.
fn filter() -> [libc::sock_filter; 4] {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    [
        // The number is the first word of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: URETPROBE,
        },
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Where in our own program file an address of our own code stands.
pub(super) fn file_offset(address: u64) -> io::Result<u64> {
    let mappings = crate::process::Mappings::read(std::process::id()).map_err(io::Error::other)?;
    mappings
        .find(address)
        .map(|mapping| address - mapping.start + mapping.file_offset)
        .ok_or_else(|| io::Error::other("our own code is not mapped"))
}
