//! A tested process, which stops itself whenever its mappings have changed.

#![allow(unsafe_code, reason = "waitpid, kill and personality are system calls without a safe form in std")]

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use leaktrace::unwind::{image::OfProcess, mapping};
use leaktrace_common::process::ProcessId;

use crate::kernel::Kernel;

pub struct Tracee {
    pub child: Child,
    pub id: ProcessId,
    started: Instant,
}

/// What became of it since the last look.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Stopped,
    Ended { status: i32 },
}

impl Tracee {
    /// Starts it, with its addresses the same in every run.
    pub fn start(command: &mut Command, id: ProcessId) -> Result<Self> {
        let without_randomisation = || {
            // SAFETY: a system call that takes a number.
            if unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as u64) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: what runs between fork and exec is a single system call.
        let command = unsafe { command.pre_exec(without_randomisation) };
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child, id, started: Instant::now() })
    }

    pub fn poll(&self) -> Result<State> {
        self.wait(libc::WNOHANG)
    }

    /// Waits until it stops or ends.
    pub fn wait_stopped(&self) -> Result<State> {
        self.wait(0)
    }

    fn wait(&self, flags: i32) -> Result<State> {
        let mut status = 0;
        // SAFETY: writes the status of our own child.
        let found =
            unsafe { libc::waitpid(self.child.id() as i32, &raw mut status, flags | libc::WUNTRACED) };
        if found < 0 {
            return Err(io::Error::last_os_error()).context("waitpid");
        }
        Ok(match found {
            0 => State::Running,
            _ if libc::WIFSTOPPED(status) => State::Stopped,
            _ => State::Ended { status },
        })
    }

    /// Makes the tables of its present mappings, and lets it go on.
    pub fn update_and_continue(&self, kernel: &mut Kernel) -> Result<()> {
        let pid = self.child.id();
        kernel.trace(pid, self.id)?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let gaps = kernel.tables.update(self.id, &mapping::parse(&maps), &mut OfProcess(pid), self.now())?;
        for (mapping, why) in gaps.unreadable {
            eprintln!("{mapping:x?}: {why}");
        }
        // SAFETY: a signal to our own child, which has not been waited for to its end.
        unsafe { libc::kill(pid as i32, libc::SIGCONT) };
        Ok(())
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
