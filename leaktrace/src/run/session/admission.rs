//! Where every process is traced: which are, when they begin, and that their books are closed when they end.
//!
//! Children of a traced process are followed by the kernel side from their first instruction. All others are found in /proc,
//! or by their exec, which the kernel tells of every process.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    time::Duration,
};

use leaktrace_common::process::{FOLLOW, ProcessId};

use super::{super::Failure, Session, begin::watch, disuse::Disuse};
use crate::{
    event::{self, Event},
    kernel::{LoadError, clock},
    ledger::Gone,
    process::{Identity, ProcessError, Selection},
    symbolize::Names,
};

/// Processes that are looked at between two looks into the rings.
const AT_ONCE: usize = 64;
/// So long those are looked at that have begun, in nanoseconds; then others are heard, and what tracing takes is looked at.
const AT_A_TIME: u64 = 20_000_000;

/// Which processes are wanted.
pub(super) struct Admission {
    selection: Selection,
    /// Those that ran another program since the last look and are not traced.
    candidates: Vec<u32>,
    /// Those that are looked at after them: none has begun just now.
    rest: Vec<u32>,
    /// Those that did so and are.
    changed: Vec<u32>,
    passed_over: HashMap<u32, PassedOver>,
    /// How many could not be looked into since tracing began.
    unread: u64,
    pub(super) disuse: Disuse,
}

/// One that is not asked again before it runs another program.
struct PassedOver {
    /// Another process may have its pid by now.
    start: Option<u64>,
    why: Why,
}

/// Why a process that is wanted is not traced.
#[derive(Debug)]
enum Why {
    Ended,
    NoAllocator,
    /// In the words of a failure that concerns this process alone.
    Unread(String),
}

impl Why {
    /// What a failure to trace one of many processes means; one that concerns all of them is handed back.
    fn of(failure: Failure) -> Result<Self, Failure> {
        match failure {
            Failure::NothingToTrace { .. } => Ok(Self::NoAllocator),
            Failure::Process(
                ProcessError::NoSuchProcess { .. }
                | ProcessError::Zombie { .. }
                | ProcessError::KernelThread { .. }
                | ProcessError::Thread { .. },
            )
            | Failure::EndedBefore { .. } => Ok(Self::Ended),
            Failure::Process(_) | Failure::Io { .. } => Ok(Self::Unread(failure.to_string())),
            Failure::Load(LoadError::Table { table, source })
                if source.raw_os_error() == Some(libc::E2BIG) =>
            {
                Ok(Self::Unread(format!(
                    "there is no more room in the table {table}; choose fewer processes"
                )))
            }
            failure => Err(failure),
        }
    }
}

impl Admission {
    /// Files that nobody maps are kept so long.
    pub(super) fn new(selection: Selection, kept: Duration) -> Self {
        Self {
            selection,
            candidates: Vec::new(),
            rest: Vec::new(),
            changed: Vec::new(),
            passed_over: HashMap::new(),
            unread: 0,
            disuse: Disuse::new(kept),
        }
    }

    /// Whether processes wait to be looked at.
    pub(super) const fn has_waiting(&self) -> bool {
        !self.candidates.is_empty() || !self.rest.is_empty()
    }
}

/// What was found in a look at all processes.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    pub(in super::super) processes: usize,
    /// Files that were attached to.
    pub(in super::super) files: BTreeSet<String>,
    /// Processes without an allocator.
    pub(in super::super) without_allocator: usize,
    /// Those that could not be looked into, with one's pid and the reason.
    pub(in super::super) unread: usize,
    pub(in super::super) example: Option<(u32, String)>,
}

impl Session {
    /// A process that is not traced runs another program: perhaps one that is wanted.
    pub(super) fn propose(&mut self, tgid: u32) {
        if let Some(admission) = &mut self.admission {
            admission.passed_over.remove(&tgid);
            admission.candidates.push(tgid);
        }
    }

    /// A process that is not traced has mapped code: perhaps an allocator, if it had none.
    pub(super) fn propose_if_without_allocator(&mut self, tgid: u32) {
        let Some(admission) = &self.admission else { return };
        let has_none = |known: &PassedOver| matches!(known.why, Why::NoAllocator);
        if admission.passed_over.get(&tgid).is_some_and(has_none) {
            self.propose(tgid);
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
        let mut candidates = std::mem::take(&mut admission.candidates);
        let began = candidates.len();
        candidates.append(&mut admission.rest);
        for tgid in changed {
            self.keep_if_wanted(tgid)?;
        }
        let until = clock::now() + AT_A_TIME;
        let mut admitted = 0;
        for tgid in &candidates {
            self.admit(*tgid, &mut Found::default())?;
            admitted += 1;
            if clock::now() >= until {
                break;
            }
        }
        if let Some(admission) = &mut self.admission {
            let (mut left, rest) = still_waiting(candidates, began, admitted);
            // Those that came meanwhile are behind them.
            left.append(&mut admission.candidates);
            (admission.candidates, admission.rest) = (left, rest);
        }
        Ok(())
    }

    /// Looks for processes that fit and are not traced, as what they are by changed: of those that have begun an exec tells.
    pub(in super::super) fn look_for_changed(&mut self) -> Result<(), Failure> {
        let Some(admission) = &mut self.admission else { return Ok(()) };
        let all = crate::process::all().map_err(|source| Failure::Io { doing: "listing /proc", source })?;
        let there: HashSet<u32> = all.iter().copied().collect();
        admission.passed_over.retain(|pid, _| there.contains(pid));
        admission.rest = all.into_iter().filter(|pid| !self.spaces.watches(*pid)).collect();
        Ok(())
    }

    /// Looks at all processes; those that fit are traced from now on.
    pub(in super::super) fn look_for_processes(&mut self) -> Result<Found, Failure> {
        let mut found = Found::default();
        if self.admission.is_none() {
            return Ok(found);
        }
        let all = crate::process::all().map_err(|source| Failure::Io { doing: "listing /proc", source })?;
        for some in all.chunks(AT_ONCE) {
            some.iter().try_for_each(|pid| self.admit(*pid, &mut found))?;
            // The rings must not run over while thousands are looked at.
            self.hear()?;
        }
        for (pid, PassedOver { why, .. }) in
            self.admission.iter().flat_map(|admission| &admission.passed_over)
        {
            match why {
                Why::Unread(reason) => {
                    found.unread += 1;
                    found.example.get_or_insert_with(|| (*pid, reason.clone()));
                }
                Why::NoAllocator => found.without_allocator += 1,
                Why::Ended => {}
            }
        }
        Ok(found)
    }

    /// Traces a process if it is wanted and is not traced yet. What keeps it from being traced does not keep the others.
    fn admit(&mut self, tgid: u32, found: &mut Found) -> Result<(), Failure> {
        let Some(pid) = NonZeroU32::new(tgid).filter(|_| tgid != std::process::id()) else { return Ok(()) };
        let Some(admission) = &self.admission else { return Ok(()) };
        if self.spaces.watches(tgid) || !admission.selection.fits(tgid) {
            return Ok(());
        }
        let is_it = |known: &PassedOver| known.start == crate::process::start_of(tgid);
        if admission.passed_over.get(&tgid).is_some_and(is_it) {
            return Ok(());
        }
        let Err(failure) = self.trace_one(pid, found) else { return Ok(()) };
        let why = Why::of(failure)?;
        if let Some(admission) = &mut self.admission
            && !matches!(why, Why::Ended)
        {
            admission.unread += u64::from(matches!(why, Why::Unread(_)));
            let start = crate::process::start_of(tgid);
            admission.passed_over.insert(tgid, PassedOver { start, why });
        }
        Ok(())
    }

    fn trace_one(&mut self, pid: NonZeroU32, found: &mut Found) -> Result<(), Failure> {
        let tgid = pid.get();
        // Kernel threads are most of what /proc lists on an idle machine.
        let Identity { comm, command, .. } = Identity::of(tgid)?;
        let watched = watch(pid)?;
        let process = self.number();
        // First: whatever it does from now on is heard of, and read after what it has now.
        if !self.kernel.trace_new(tgid, process, FOLLOW)? {
            return Ok(());
        }
        let attached = self.add(pid, process, &comm);
        let attached = attached.and_then(|attached| {
            self.target(pid, process, Some(watched))?;
            Ok(attached)
        });
        match attached {
            Ok(attached) => {
                found.processes += 1;
                found.files.extend(attached.into_iter().map(|(file, _)| file));
                let traced = event::Traced { process, pid: tgid, comm, command, at: clock::now() };
                self.say(&Event::Traced(traced));
                Ok(())
            }
            Err(failure) => {
                self.kernel.untrace(tgid)?;
                self.spaces.forget(tgid);
                Err(failure)
            }
        }
    }

    /// Processes that were wanted and could not be looked into.
    pub(in super::super) fn unread_processes(&self) -> u64 {
        self.admission.as_ref().map_or(0, |admission| admission.unread)
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

    /// Whether a process has ended since the kernel side's tables were read.
    pub(in super::super) const fn has_leavings(&self) -> bool {
        self.leavings.are_there()
    }

    /// Whether so many processes have ended that what they left fills the kernel side's tables.
    pub(in super::super) const fn must_clear(&self) -> bool {
        self.leavings.are_many()
    }

    /// Closes the books of processes that have ended, but for those in `kept`: only their sums stay. With every process of a
    /// machine traced, some thousands end in an hour.
    pub(in super::super) fn retire(&mut self, kept: impl Fn(ProcessId) -> bool, names: &mut Names) -> Gone {
        if self.admission.is_none() {
            return Gone::default();
        }
        let gone: HashSet<ProcessId> = self.ledger.settled().filter(|process| !kept(*process)).collect();
        if !gone.is_empty() {
            self.ledger.retire(&gone);
            self.engines.forget(&gone);
            self.unwinding.forget(&gone);
            // If the thread is no more, who asks it for names says so.
            let _ = self.symbols.forget(gone.clone());
            names.forget(|process| gone.contains(&process));
        }
        Gone { processes: gone, binaries: self.drop_unused_files(names) }
    }
}

/// Of the first `began` and of the others those that are left once so many were looked at.
fn still_waiting(mut all: Vec<u32>, began: usize, looked_at: usize) -> (Vec<u32>, Vec<u32>) {
    let mut left = all.split_off(looked_at);
    let rest = left.split_off(began.saturating_sub(looked_at));
    (left, rest)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn why(failure: Failure) -> Result<&'static str, String> {
        match Why::of(failure) {
            Ok(Why::Ended) => Ok("ended"),
            Ok(Why::NoAllocator) => Ok("no allocator"),
            Ok(Why::Unread(_)) => Ok("unread"),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn each_is_looked_at_once_and_those_that_have_begun_come_first() {
        let after = |looked_at| still_waiting(vec![1, 2, 3, 10, 11], 3, looked_at);
        assert_eq!(after(2), (vec![3], vec![10, 11]));
        assert_eq!(after(3), (vec![], vec![10, 11]));
        assert_eq!(after(4), (vec![], vec![11]));
        assert_eq!(after(5), (vec![], vec![]));
    }

    #[test]
    fn one_process_that_cannot_be_traced_does_not_keep_the_others_from_it() {
        let path = || "/proc/7/maps".into();
        assert_eq!(why(ProcessError::NoSuchProcess { pid: 7 }.into()), Ok("ended"));
        assert_eq!(why(ProcessError::NoPermission { pid: 7, path: path() }.into()), Ok("unread"));
        let odd = ProcessError::Unexpected { pid: 7, path: path(), what: "a line".to_owned() };
        assert_eq!(why(odd.into()), Ok("unread"));
        let full = |table, error| LoadError::Table { table, source: io::Error::from_raw_os_error(error) };
        assert_eq!(why(full("PROCESSES", libc::E2BIG).into()), Ok("unread"));
        // What is wrong with all of them is said, and ends the trace.
        assert!(why(full("PROCESSES", libc::EBADF).into()).is_err());
        assert!(why(Failure::WouldEndTarget { pid: 7 }).is_err());
    }
}
