//! A tested process, which stops itself whenever its mappings have changed.

#![allow(unsafe_code, reason = "waitpid, kill and personality are system calls without a safe form in std")]

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use leaktrace::{
    process::{Mapping, MappingKind, Mappings, OpenBinary},
    unwind::{
        image::{self, Image, Images},
        mapping::{self, Code, CodeMapping},
    },
};
use leaktrace_common::process::ProcessId;

use crate::kernel::Kernel;

pub struct Tracee {
    pub child: Child,
    pub id: ProcessId,
}

/// Tables want a clock that only goes forward, for all tracees together.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

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
        LazyLock::force(&START);
        Ok(Self { child, id })
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
        let mappings = Mappings::read(pid)?;
        let code = mapping::joined(mappings.iter().filter_map(code));
        let gaps = kernel.tables.update(self.id, &code, &mut OfProcess(pid, &mappings), self.now())?;
        for (mapping, why) in gaps.unreadable {
            eprintln!("{mapping:x?}: {why}");
        }
        // SAFETY: a signal to our own child, which has not been waited for to its end.
        unsafe { libc::kill(pid as i32, libc::SIGCONT) };
        Ok(())
    }

    /// Makes it wait as if it had stopped itself. It must not have been waited for to its end.
    pub fn stop(&self) {
        // SAFETY: a signal to our own child, whose pid is no one else's until it is waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGSTOP) };
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        now()
    }
}

/// On the clock of the tables.
#[must_use]
pub fn now() -> Duration {
    START.elapsed()
}

/// None for what holds no code that a probe sees.
fn code(mapping: &Mapping) -> Option<CodeMapping> {
    let code = match mapping.kind {
        _ if !mapping.executable => return None,
        MappingKind::File { device, inode, .. } => {
            Code::File { device: u64::from(device.major) << 32 | u64::from(device.minor), inode }
        }
        MappingKind::Vdso => Code::Vdso,
        // The kernel's page for return probes.
        MappingKind::Anonymous { name: Some(ref name) } if name == "uprobes" => return None,
        MappingKind::Anonymous { .. } => Code::Anonymous,
        MappingKind::Vvar | MappingKind::Vsyscall => return None,
    };
    Some(CodeMapping { start: mapping.start, end: mapping.end, offset: mapping.file_offset, code })
}

/// The images of a running process.
struct OfProcess<'a>(u32, &'a Mappings);

impl Images for OfProcess<'_> {
    fn open(&mut self, mapping: &CodeMapping) -> io::Result<Image> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        match mapping.code {
            Code::File { .. } => {
                let mapping = self.1.find(mapping.start).ok_or_else(gone)?;
                let file = OpenBinary::behind(self.0, mapping).map_err(io::Error::other)?.ok_or_else(gone)?;
                File::open(file.probe_path()).map(Image::File)
            }
            Code::Vdso => image::vdso(self.0, mapping),
            Code::Anonymous => Err(gone()),
        }
    }
}
