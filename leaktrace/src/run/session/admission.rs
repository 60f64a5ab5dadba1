//! Where every process is traced: which are, when they begin, and that their books are closed when they end.
//!
//! Children of a traced process are followed by the kernel side from their first instruction. All others are found in /proc,
//! or by their exec, which the kernel tells of every process.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
};

use leaktrace_common::process::{FOLLOW, ProcessId};

use super::{super::Failure, Session, watch};
use crate::{
    event::{self, Event},
    kernel::clock,
    process::{Identity, ProcessError, Selection},
    symbolize::Names,
};

/// Processes that are looked at between two looks into the rings.
const AT_ONCE: usize = 64;

/// Which processes are wanted.
pub(super) struct Admission {
    selection: Selection,
    /// Those that ran another program since the last look and are not traced.
    candidates: Vec<u32>,
    /// Those that did so and are.
    changed: Vec<u32>,
    /// Those in which there is nothing to trace, by their start.
    passed_over: HashMap<u32, u64>,
}

impl Admission {
    pub(super) fn new(selection: Selection) -> Self {
        Self { selection, candidates: Vec::new(), changed: Vec::new(), passed_over: HashMap::new() }
    }
}

/// What was found in a look at all processes.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    pub(in super::super) processes: usize,
    /// Files that were attached to.
    pub(in super::super) files: BTreeSet<String>,
    /// Processes without an allocator, or whose files could not be read.
    pub(in super::super) passed_over: usize,
}

impl Session {
    /// A process that is not traced runs another program: perhaps one that is wanted.
    pub(super) fn propose(&mut self, tgid: u32) {
        if let Some(admission) = &mut self.admission {
            admission.candidates.push(tgid);
        }
    }

    /// One that is traced does.
    pub(super) fn became_another(&mut self, tgid: u32) {
        if let Some(admission) = &mut self.admission {
            admission.changed.push(tgid);
        }
    }

    /// Looks at those that run another program since the last look: followed ones may not be wanted any more.
    pub(super) fn admit_candidates(&mut self) -> Result<(), Failure> {
        let Some(admission) = &mut self.admission else { return Ok(()) };
        let changed = std::mem::take(&mut admission.changed);
        let candidates = std::mem::take(&mut admission.candidates);
        admission.passed_over.retain(|tgid, _| !candidates.contains(tgid));
        for tgid in changed {
            self.keep_if_wanted(tgid)?;
        }
        for tgid in candidates {
            self.admit(tgid, &mut Found::default())?;
        }
        Ok(())
    }

    /// Looks at all processes; those that fit and are not traced yet are from now on.
    pub(in super::super) fn look_for_processes(&mut self) -> Result<Found, Failure> {
        let mut found = Found::default();
        let Some(admission) = &mut self.admission else { return Ok(found) };
        let all = crate::process::all().map_err(|source| Failure::Io { doing: "listing /proc", source })?;
        let there: HashSet<u32> = all.iter().copied().collect();
        admission.passed_over.retain(|pid, _| there.contains(pid));
        for some in all.chunks(AT_ONCE) {
            some.iter().try_for_each(|pid| self.admit(*pid, &mut found))?;
            // The rings must not run over while thousands are looked at.
            self.hear()?;
        }
        found.passed_over = self.admission.as_ref().map_or(0, |admission| admission.passed_over.len());
        Ok(found)
    }

    /// Traces a process if it is wanted and is not traced yet.
    fn admit(&mut self, tgid: u32, found: &mut Found) -> Result<(), Failure> {
        let Some(pid) = NonZeroU32::new(tgid).filter(|_| tgid != std::process::id()) else { return Ok(()) };
        let Some(admission) = &self.admission else { return Ok(()) };
        if self.spaces.watches(tgid) || !admission.selection.fits(tgid) {
            return Ok(());
        }
        let is_known = |start: &u64| crate::process::start_of(tgid) == Some(*start);
        if admission.passed_over.get(&tgid).is_some_and(is_known) {
            return Ok(());
        }
        // Kernel threads are most of what /proc lists on an idle machine.
        let Ok(identity) = Identity::of(tgid) else { return Ok(()) };
        let Ok(watched) = watch(pid) else { return Ok(()) };
        let process = self.number();
        // First: whatever it does from now on is heard of, and read after what it has now.
        if !self.kernel.trace_new(tgid, process, FOLLOW)? {
            return Ok(());
        }
        match self.add(pid, process, &identity.comm) {
            Ok(attached) => {
                let Identity { comm, command, .. } = identity;
                found.processes += 1;
                found.files.extend(attached.into_iter().map(|(file, _)| file));
                self.target(pid, process, Some(watched))?;
                let traced = event::Traced { process, pid: tgid, comm, command, at: clock::now() };
                self.say(&Event::Traced(traced));
                Ok(())
            }
            Err(error) => {
                self.kernel.untrace(tgid)?;
                self.spaces.forget(tgid);
                match error {
                    Failure::NothingToTrace { .. } | Failure::Process(ProcessError::Unreadable { .. }) => {
                        if let Some(admission) = &mut self.admission {
                            admission.passed_over.insert(tgid, identity.start_time);
                        }
                        Ok(())
                    }
                    Failure::Process(ProcessError::NoSuchProcess { .. } | ProcessError::Zombie { .. })
                    | Failure::EndedBefore { .. } => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    /// A followed process runs another program now, which may be none that is wanted.
    fn keep_if_wanted(&mut self, tgid: u32) -> Result<(), Failure> {
        let Some(admission) = &self.admission else { return Ok(()) };
        if admission.selection.is_all() || admission.selection.fits(tgid) {
            return Ok(());
        }
        let gone = self.targets.extract_if(.., |target| target.pid.get() == tgid);
        gone.collect::<Vec<_>>().into_iter().try_for_each(|target| self.leave(&target))
    }

    /// How many processes ended since the tables were read last: what they left in them fills them.
    pub(in super::super) const fn unread_ends(&self) -> usize {
        self.unread_ends
    }

    /// Closes the books of processes that have ended, but for those in `kept`: only their sums stay. With every process of a
    /// machine traced, some thousands end in an hour.
    pub(in super::super) fn retire(
        &mut self,
        kept: impl Fn(ProcessId) -> bool,
        names: &mut Names,
    ) -> HashSet<ProcessId> {
        if self.admission.is_none() {
            return HashSet::new();
        }
        let gone: HashSet<ProcessId> = self.ledger.settled().filter(|process| !kept(*process)).collect();
        if gone.is_empty() {
            return gone;
        }
        self.ledger.retire(&gone);
        self.engines.forget(&gone);
        self.unwinding.forget(&gone);
        names.forget(|process| gone.contains(&process));
        gone
    }
}
