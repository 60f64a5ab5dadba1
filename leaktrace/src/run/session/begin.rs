//! Processes are prepared, and traced from one moment on.

use std::num::NonZeroU32;

use leaktrace_common::process::{FOLLOW, ProcessId};

use super::{
    super::{Failure, probes::Attached, watch::Watched},
    Notice, Session, Target,
    files::Code,
};
use crate::{
    event::{self, BinaryId, Event},
    kernel::clock,
    process::{Identity, OpenBinary},
};

impl Session {
    /// Prepares a running process: finds its files, places the probes. It is recorded from [`Self::begin`] on.
    pub(in super::super) fn add_running(
        &mut self,
        pid: NonZeroU32,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        let watched = watch(pid)?;
        let identity = Identity::of(pid.get())?;
        let process = self.number();
        let attached = self.add(pid, process, &identity.comm)?;
        if !identity.still_the_same() {
            return Err(Failure::EndedBefore { pid: pid.get() });
        }
        self.target(pid, process, Some(watched))?;
        self.prepared.push((process, identity));
        Ok(attached)
    }

    /// What a process has mapped is from now on in the books, and probed.
    pub(super) fn add(
        &mut self,
        pid: NonZeroU32,
        process: ProcessId,
        comm: &str,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        let Code { list, files, out_of_reach } = self.place_all(pid.get())?;
        let why_unread = out_of_reach.into_iter().next();
        let attached = self.attach_all(pid, comm, files).map_err(|failure| match (failure, why_unread) {
            // Its allocator may be in what could not be opened.
            (Failure::NothingToTrace { .. }, Some((_, error))) => error.into(),
            (failure, _) => failure,
        })?;
        self.spaces.watch(pid.get(), process, comm, &list);
        self.say(&Event::Mappings(event::Mappings { process, list, whole: false }));
        self.update_tables(process, pid.get());
        Ok(attached)
    }

    pub(super) fn target(
        &mut self,
        pid: NonZeroU32,
        process: ProcessId,
        watched: Option<Watched>,
    ) -> Result<(), Failure> {
        let key = self.next_key;
        self.next_key += 1;
        match &watched {
            Some(watched) => self
                .ends
                .add(watched, key)
                .map_err(|source| Failure::Io { doing: "watching a process", source })?,
            None => self.has_unwatched = true,
        }
        self.targets.push(Target { pid, process, watched, key });
        Ok(())
    }

    /// Prepares a program that waits before its exec; `files` are what it will map.
    pub(in super::super) fn add_waiting(
        &mut self,
        pid: NonZeroU32,
        command: &str,
        files: impl IntoIterator<Item = OpenBinary>,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        let watched = watch(pid)?;
        let process = self.number();
        let files: Vec<BinaryId> = files.into_iter().map(|file| self.register(file)).collect();
        let attached = self.attach_all(pid, command, files.clone())?;
        if let Err(error) = self.unwinding.prepare(&files, &self.probes) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
        self.spaces.watch(pid.get(), process, "", &[]);
        self.unborn.insert(process, command.to_owned());
        self.target(pid, process, Some(watched))?;
        Ok(attached)
    }

    /// From now on everything is recorded, in all processes from the same moment on.
    pub(in super::super) fn begin(&mut self) -> Result<(), Failure> {
        let flags = if self.follow { FOLLOW } else { 0 };
        for target in &self.targets {
            self.kernel.trace(target.pid.get(), target.process, flags)?;
        }
        for (process, Identity { pid, comm, command, .. }) in std::mem::take(&mut self.prepared) {
            self.say(&Event::Traced(event::Traced { process, pid, comm, command, at: clock::now() }));
        }
        Ok(())
    }
}

pub(super) fn watch(pid: NonZeroU32) -> Result<Watched, Failure> {
    Watched::open(pid.get()).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => {
            Identity::of(pid.get()).map_or_else(Failure::Process, |_| Failure::EndedBefore { pid: pid.get() })
        }
        // A thread that is not a process.
        Some(libc::EINVAL | libc::ENOENT) => Identity::of(pid.get())
            .map_or_else(Failure::Process, |_| Failure::Io { doing: "watching the process", source }),
        _ => Failure::Io { doing: "watching the process (pidfd_open)", source },
    })
}
