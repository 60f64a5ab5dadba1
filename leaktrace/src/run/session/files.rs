//! The files behind a process's code: known to the books, probed where they hold an allocator, and what their
//! code is unwound and named by.

use std::{num::NonZeroU32, ops::Range};

use leaktrace_common::process::ProcessId;

use super::{
    super::{Failure, probes::Attached},
    Notice, Session,
};
use crate::{
    event::{self, Backing, BinaryId, Event, FileOffset},
    kernel::attach::AttachError,
    process::{Mapping, MappingKind, Mappings, OpenBinary, ProcessError},
    target::NoAllocator,
};

/// What a process has mapped.
#[derive(Default)]
pub(super) struct Code {
    pub(super) list: Vec<event::Mapping>,
    pub(super) files: Vec<BinaryId>,
    /// Mappings whose files cannot be opened, and why.
    pub(super) out_of_reach: Vec<(Range<u64>, ProcessError)>,
}

impl Session {
    /// A prefix that fits no function may be a typo, and then nothing of that allocator is seen.
    pub(in crate::run) fn warn_of_unmatched_prefixes(&mut self, prefixes: &[String]) {
        let unmatched = prefixes.iter().filter(|prefix| !self.probes.has_hook_with(prefix));
        self.notices.extend(unmatched.map(|prefix| {
            Notice::Unseen(format!("no function to probe is named {prefix}malloc, {prefix}free or the like"))
        }));
    }

    /// Hands over what runtimes wrote about the code they made; before each report, as they write on.
    pub(in crate::run) fn offer_perf_maps(&self) {
        for target in &self.targets {
            if let Some(file) = crate::process::perf_map(target.pid.get()) {
                // Without it such frames have no names, and the report says so.
                let _ = self.symbols.add_perf_map(target.process, file);
            }
        }
    }

    /// The process has mapped something: so must its unwind tables.
    pub(super) fn update_tables(&mut self, process: ProcessId, pid: u32) {
        let mappings = self.ledger.mappings(process);
        if let Err(error) = self.unwinding.update(process, pid, mappings, &self.probes) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
        match self.engines.update(&self.kernel, process, pid, mappings, &self.probes) {
            Ok(Some(engine)) => self.say(&Event::Engine(engine)),
            Ok(None) => {}
            Err(error) => self.notices.push(Notice::Unseen(format!("JavaScript of pid {pid}: {error}"))),
        }
    }

    pub(super) fn drop_tables(&mut self, process: ProcessId) {
        self.remapped.remove(&process);
        self.crowded.remove(&process);
        if let Err(error) = self.unwinding.remove(process) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
        self.check_engines();
        if let Err(error) = self.kernel.forget_v8(process) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
    }

    /// The file's id; tells the books of a new one.
    pub(super) fn register(&mut self, file: OpenBinary) -> BinaryId {
        let path = file.display.display().to_string();
        let (id, is_new) = self.probes.register(file);
        if is_new {
            self.say(&Event::Binary(event::Binary { id, path }));
            let hooks: Vec<_> = self.probes.hook_names(id).map(|(n, name)| (n, name.to_owned())).collect();
            for (number, function) in hooks {
                self.say(&Event::Hooked(event::Hooked { number, function, javascript: false }));
            }
            let hooks: Vec<_> = self.probes.sample_hooks(id).collect();
            for (number, name) in hooks {
                let function = name.to_owned();
                self.say(&Event::Hooked(event::Hooked { number, function, javascript: true }));
            }
            if let Some(why @ NoAllocator::TooMany) = self.probes.why_not(id) {
                self.notices.push(Notice::Unseen(format!("{}: {why}", self.probes.name(id))));
            }
            if let Some(unusable) = self.probes.unusable(id) {
                self.notices.push(Notice::Unseen(unusable.to_string()));
            }
            if let Ok((file, debug)) = self.probes.for_names(id) {
                // Without it the names are missing, and the report says so.
                let _ = self.symbols.add_binary(id, file, debug);
            }
        }
        id
    }

    /// A mapping as the books have it, and the file behind it; none of those that are not in the books.
    ///
    /// # Errors
    /// The file is out of reach.
    pub(super) fn place(
        &mut self,
        pid: u32,
        mapping: &Mapping,
    ) -> Result<Option<(event::Mapping, Option<BinaryId>)>, ProcessError> {
        let (backing, file) = match &mapping.kind {
            MappingKind::Vdso => (Backing::Vdso, None),
            MappingKind::File { .. } => {
                let Some(id) = self.file_behind(pid, mapping)? else { return Ok(None) };
                (Backing::Binary(id), Some(id))
            }
            MappingKind::Anonymous { .. } => (Backing::Anonymous, None),
            MappingKind::Vvar | MappingKind::Vsyscall => return Ok(None),
        };
        let offset = if file.is_some() { FileOffset(mapping.file_offset) } else { FileOffset(0) };
        Ok(Some((event::Mapping { start: mapping.start, end: mapping.end, offset, backing }, file)))
    }

    /// All code that the process has mapped now.
    ///
    /// # Errors
    /// The process is out of reach or gone.
    pub(super) fn place_all(&mut self, pid: u32) -> Result<Code, ProcessError> {
        let mappings = Mappings::read(pid)?;
        let mut code = Code::default();
        for mapping in mappings.iter().filter(|mapping| mapping.executable) {
            match self.place(pid, mapping) {
                Ok(placed) => {
                    code.list.extend(placed.as_ref().map(|(mapped, _)| *mapped));
                    code.files.extend(placed.and_then(|(_, file)| file));
                }
                Err(error) => code.out_of_reach.push((mapping.start..mapping.end, error)),
            }
        }
        Ok(code)
    }

    fn file_behind(&mut self, pid: u32, mapping: &Mapping) -> Result<Option<BinaryId>, ProcessError> {
        let id = match self.probes.mapped_as(&mapping.kind) {
            Some(id) => id,
            None => {
                let Some(file) = OpenBinary::behind(pid, mapping)? else { return Ok(None) };
                let id = self.register(file);
                self.probes.is_mapped_as(id, mapping.kind.clone());
                id
            }
        };
        if let Some(admission) = &mut self.admission {
            admission.disuse.touch(id);
        }
        Ok(Some(id))
    }

    pub(super) fn attach_all(
        &mut self,
        pid: NonZeroU32,
        comm: &str,
        mut files: Vec<BinaryId>,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        files.sort_unstable();
        files.dedup();
        if files.iter().any(|id| self.probes.needs_return_probes(*id)) {
            self.refuse_if_deadly(pid)?;
        }
        let mut attached = Vec::new();
        for id in &files {
            self.notices.extend(self.probes.unseen(*id).map(Notice::Unseen));
            // A process that was asked for by name is traced whole or not at all; of a machine's many files one is left out.
            let done = if self.admission.is_some() {
                self.attach_if_possible(*id, pid)?
            } else {
                self.probes.attach(&mut self.kernel, *id, pid)?
            };
            attached.extend(done.map(|done| (self.probes.name(*id), done)));
        }
        let has_hooks = |id: &BinaryId| self.probes.why_not(*id).is_none() || self.probes.v8(*id).is_some();
        if !files.iter().any(has_hooks) {
            let reason = |id: &BinaryId| {
                let (why, known) = (self.probes.why_not(*id)?, self.probes.binary(*id)?);
                Some(format!("  {}: {why}\n", known.file.display.display()))
            };
            let reasons = files.iter().filter_map(reason).collect();
            return Err(Failure::NothingToTrace { pid: pid.get(), comm: comm.to_owned(), reasons });
        }
        Ok(attached)
    }

    /// Places a file's probes; where the kernel refuses one, says so, and what is traced already goes on.
    pub(super) fn attach_if_possible(
        &mut self,
        id: BinaryId,
        pid: NonZeroU32,
    ) -> Result<Option<Attached>, Failure> {
        match self.probes.attach(&mut self.kernel, id, pid) {
            Err(Failure::Attach(error @ AttachError::Refused { .. })) => {
                self.notices.push(Notice::Unseen(error.to_string()));
                Ok(None)
            }
            attached => attached,
        }
    }

    /// With `--follow` the probes stand in every process that maps the file, filtered or not.
    pub(super) fn refuse_if_deadly(&mut self, pid: NonZeroU32) -> Result<(), Failure> {
        if !self.follow && !crate::process::has_seccomp_filter(pid.get())? {
            return Ok(());
        }
        let pass = match self.pass_seccomp {
            Some(pass) => pass,
            None => self.kernel.return_probes_pass_seccomp()?,
        };
        self.pass_seccomp = Some(pass);
        if pass { Ok(()) } else { Err(Failure::WouldEndTarget { pid: pid.get() }) }
    }
}
