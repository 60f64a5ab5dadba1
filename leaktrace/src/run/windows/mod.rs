//! Keeps the cost of probes within the budget. JavaScript's are few, see [`refills`]. Native ones: where it does not fit, they stand for a moment now and then.
//!
//! While they stand, the kernel times what they run; what that takes is weighed against what the processes do. When the credit
//! is used up, the probes are lifted, and between windows the heap itself tells what became of the blocks that lived (see
//! [`followed`]). Where the probes have to stay, the user is told what that costs.

mod budget;
mod followed;
mod hurry;
mod refills;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use leaktrace_common::process::ProcessId;

pub(super) use self::followed::Fates;
use self::{
    budget::{Budget, Own},
    followed::Followed,
    hurry::Hurry,
    refills::Refills,
};
use super::{Failure, session::Session};
use crate::{
    cli::Plan,
    event::Event,
    kernel::{
        clock,
        cost::{Runs, Timing, Traps},
    },
    report::{Cost, Report},
};

/// How often what was spent is looked at.
const LOOK: u64 = 10_000_000;
/// And as much later for so many processes.
const PROCESSES: u64 = 200;
/// Who does not come to it for so long may find that probes have cost far more than they may.
const LATE: u64 = 100_000_000;
/// Between windows a heap is read so often at most, and for this part of a CPU at most.
const READ: u64 = 2_000_000_000;
const SHARE_OF_TIME: u64 = 20;
/// So long processes' memory is opened, and as long blocks are looked at, while probes stand and cost. Of some ten thousand
/// blocks some are not followed.
const OPENING: u64 = 50_000_000;
/// So long allocators are looked for between two looks once probes are lifted.
const FINDING: u64 = 5_000_000;
/// A hit dearer than this is worth a word.
const DEAR: u64 = 3_000;

/// Probes on their way out.
struct Lifting {
    /// Until they are gone.
    timing: Weak<Option<Timing>>,
    /// What had been spent when that was begun.
    spent_ns: u64,
}

pub(super) struct Windows {
    budget: Budget,
    /// With `--exact`: probes are not lifted, whatever they cost.
    is_exact: bool,
    /// Why probes cannot be lifted, if they cannot.
    must_stay: Option<String>,
    /// None where costs cannot be measured on this kernel.
    traps: Option<Traps>,
    /// Programs are timed while it is there, unless the kernel refused: then they cost what traps cost at the least.
    timing: Arc<Option<Timing>>,
    /// Probes are being taken back.
    lifting: Option<Lifting>,
    hurry: Hurry,
    runs: Runs,
    hits: u64,
    spent_ns: u64,
    own: Own,
    /// The processes' own CPU time since tracing began.
    worked: u64,
    /// What each process had used of a CPU.
    used: HashMap<u32, u64>,
    looked: u64,
    /// Nothing is watched.
    is_paused: bool,
    pauses: u64,
    read_at: u64,
    followed: Followed,
    has_warned: bool,
    refills: Refills,
}

impl Windows {
    /// Measures what a hit costs here.
    pub(super) fn new(plan: &Plan, session: &mut Session) -> Self {
        if plan.targets.are_all() && session.is_quick() {
            session.hold_back();
        }
        let must_stay = if plan.mmap {
            Some("--mmap has to hear of each mapping".to_owned())
        } else if plan.prove {
            Some("--prove has to know each block".to_owned())
        } else if plan.targets.are_all() && !session.is_quick() {
            Some(
                "this kernel takes too long to take back the probes of many files; Linux 6.11 and newer do it at once"
                    .to_owned(),
            )
        } else {
            None
        };
        let traps = match plan.native.then(|| session.measure_traps()).transpose() {
            Err(error) if plan.budget.is_some() => {
                crate::say!("what tracing takes cannot be measured here, so --budget is not kept: {error}");
                None
            }
            measured => measured.ok().flatten(),
        };
        Self {
            budget: Budget::new(plan.budget.unwrap_or(1.0), plan.epoch),
            is_exact: plan.budget.is_none(),
            must_stay,
            traps,
            timing: Arc::new(None),
            lifting: None,
            hurry: Hurry::new(),
            runs: Runs::default(),
            hits: 0,
            spent_ns: 0,
            own: Own::default(),
            worked: 0,
            used: HashMap::new(),
            looked: 0,
            is_paused: false,
            pauses: 0,
            read_at: 0,
            followed: Followed::default(),
            has_warned: false,
            // Else the user has said how many samples there are to be.
            refills: Refills::new(plan.javascript && plan.js_interval.is_none()),
        }
    }

    /// Places what is to be placed at once, and begins to record.
    pub(super) fn begin(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.traps.is_some() {
            self.timing = Arc::new(Timing::start().ok());
            self.account(session);
            session.tell(&Event::Worked { at: self.looked, work: 0 });
        }
        self.place(session)?;
        session.begin()
    }

    /// Looks what was spent, and lets probes stand or lifts them by that.
    pub(super) fn turn(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.refills.turn(session)?;
        let is_watched = !self.is_paused && self.may_lift();
        self.hurry.expect(is_watched.then(|| clock::now() + LATE));
        // Each process has to be asked for its time.
        let apart = LOOK * (1 + session.pids().count() as u64 / PROCESSES);
        if self.traps.is_none() || clock::now() < self.looked + apart {
            return Ok(());
        }
        self.account(session);
        if let Some(gone) = self.lifting.take_if(|lifting| lifting.timing.strong_count() == 0) {
            self.budget.lifted(self.spent_ns - gone.spent_ns);
        }
        if self.is_paused {
            // Placed again before they are gone, they would see each call twice.
            if self.budget.affords_window() && self.lifting.is_none() {
                return self.resume(session);
            }
            self.find_allocators(clock::now() + FINDING, session);
            if clock::now() >= self.read_at {
                self.read(session)?;
            }
        } else if self.budget.is_spent() && !self.is_exact {
            return self.lift(session);
        } else {
            // If they are to be lifted before long, that must not be late.
            self.hurry.set(self.may_lift() && self.budget.is_short());
        }
        Ok(())
    }

    /// Whether probes are taken back for a while once the credit is used up.
    const fn may_lift(&self) -> bool {
        !self.is_exact && self.must_stay.is_none() && self.traps.is_some()
    }

    /// Whether what can wait had better: probes cost more than they may for a moment, until they are lifted.
    pub(super) fn is_urgent(&self) -> bool {
        self.hurry.is_new()
    }

    /// Before something is judged: what has become of the blocks, as far as that was not looked at just now.
    pub(super) fn refresh(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.pauses == 0 {
            return Ok(());
        }
        self.account(session);
        session.tell(&Event::Worked { at: self.looked, work: self.worked });
        if self.is_paused && clock::now() >= self.read_at { self.read(session) } else { Ok(()) }
    }

    /// The same for the last time.
    pub(super) fn end(&mut self, session: &mut Session) -> Result<(), Failure> {
        // To make the last report takes a while. That is nobody's loss where probes cost little or are gone.
        if !self.is_paused && self.may_lift() {
            self.account(session);
            if self.pauses > 0 || self.budget.is_short() {
                self.lift(session)?;
            }
        }
        self.hurry.expect(None);
        self.hurry.set(false);
        self.find_allocators(u64::MAX, session);
        self.read_at = 0;
        self.refresh(session)
    }

    /// What was spent and done since the last look.
    fn account(&mut self, session: &Session) {
        let now = clock::now();
        let time = if self.looked == 0 { 0 } else { now - self.looked };
        self.looked = now;
        let runs = session.runs().unwrap_or_default();
        let new = runs.since(&std::mem::replace(&mut self.runs, runs));
        let traps = self.traps.unwrap_or_default();
        let used = self.used_since(session);
        let spent = new.cost(traps, |program| session.is_stepped(program));
        let own = self.own.of(new.count(), used, spent);
        let spent = used.saturating_sub(own);
        self.hits += new.count();
        self.spent_ns += spent;
        self.worked += own;
        self.budget.pass(Duration::from_nanos(time), used, spent);
    }

    /// What the report says of it.
    pub(super) fn complete(&self, report: &mut Report, session: &Session) {
        report.cost = self.cost(session);
        let engines = report.processes.iter_mut().filter_map(|process| process.javascript.as_mut());
        engines.for_each(|engine| engine.refills_seen = self.refills.seen());
    }

    fn cost(&self, session: &Session) -> Option<Cost> {
        self.traps?;
        Some(Cost {
            budget: (!self.is_exact).then(|| self.budget.share()),
            share: self.budget.taken(),
            spent_ns: self.spent_ns,
            own_ns: self.worked,
            hits: self.hits,
            hit_ns: self.spent_ns.checked_div(self.hits).unwrap_or_default(),
            pauses: self.pauses,
            watched: session.ledger.time_watched(),
            over_budget: self.must_stay.clone().filter(|_| self.has_warned),
        })
    }

    /// Nanoseconds of CPU that the processes used since the last call.
    fn used_since(&mut self, session: &Session) -> u64 {
        let now: HashMap<u32, u64> =
            session.pids().filter_map(|pid| Some((pid, clock::of_process(pid)?))).collect();
        // What a process did before it was first looked at is not of this time.
        let of = |(pid, used): (&u32, &u64)| used.saturating_sub(*self.used.get(pid).unwrap_or(used));
        let used = now.iter().map(of).sum();
        self.used = now;
        used
    }

    /// Takes the probes back, if the heaps can be followed without them.
    fn lift(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.must_stay.is_some() {
            self.warn(session);
            return Ok(());
        }
        self.hurry.set(true);
        let blocks = session.blocks()?;
        // What those without blocks have for a heap is of no interest.
        let holders: HashSet<ProcessId> = blocks.iter().map(|(key, _)| key.process).collect();
        let holders = session.running().filter(|(process, _)| holders.contains(process));
        let until = clock::now() + OPENING;
        self.followed.open(holders, until);
        // Those that came while the first many were read are few, and so are those that come while they are.
        self.followed.note(blocks, until + OPENING);
        if clock::now() < until + OPENING {
            self.followed.note(session.blocks()?, until + OPENING);
        }
        let timing = std::mem::take(&mut self.timing);
        self.lifting = Some(Lifting { timing: Arc::downgrade(&timing), spent_ns: self.spent_ns });
        let at = session.pause(&timing)?;
        drop(timing);
        self.hurry.set(false);
        self.account(session);
        session.tell(&Event::Paused { at, work: self.worked });
        let running: HashSet<ProcessId> = session.running().map(|(process, _)| process).collect();
        let unknown = self.followed.keep(session.blocks()?, at, |process| running.contains(&process));
        session.settle(&Fates { unfollowed: unknown, ..Fates::default() })?;
        self.is_paused = true;
        self.pauses += 1;
        Ok(())
    }

    fn resume(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.timing = Arc::new(Timing::start().ok());
        let at = self.place(session)?;
        session.tell(&Event::Resumed { at, work: self.worked });
        self.is_paused = false;
        Ok(())
    }

    /// Places probes that are not there; since when they watch.
    fn place(&mut self, session: &mut Session) -> Result<u64, Failure> {
        self.hurry.set(true);
        let (at, before) = (session.resume()?, self.spent_ns);
        // What was done while they were placed, which can take a while, is of the pause.
        self.account(session);
        self.budget.placed(self.spent_ns - before);
        // The next look tells whether they are to be lifted soon.
        let may_lift = self.may_lift();
        self.hurry.expect(may_lift.then(|| clock::now() + LATE));
        self.hurry.set(may_lift);
        Ok(at)
    }

    fn find_allocators(&mut self, until: u64, session: &Session) {
        if let Some(unread) = self.followed.find_allocators(until) {
            self.warn_of_unread(unread, session);
        }
    }

    /// Reads the heaps.
    fn read(&mut self, session: &mut Session) -> Result<(), Failure> {
        let begun = clock::of_thread();
        let (now, blocks) = (clock::now(), session.blocks()?);
        let fates = self.followed.look(blocks, now);
        session.settle(&fates)?;
        let spent = clock::of_thread().saturating_sub(begun);
        self.read_at = clock::now() + READ.max(spent * SHARE_OF_TIME);
        Ok(())
    }

    /// Once, that some leaks are not called so.
    fn warn_of_unread(&mut self, processes: usize, session: &Session) {
        if self.has_warned || processes == 0 {
            return;
        }
        let what = match (session.pids().count(), session.other_allocator()) {
            (1, Some(file)) => format!("the heap of {file}"),
            (1, None) => "its heap, which is of no glibc that is known,".to_owned(),
            _ => format!("the heap of {processes} processes, whose allocator is not glibc's,"),
        };
        self.has_warned = true;
        crate::say!(
            "tracing each call takes more than --budget {:.0}%, so probes stand in windows only. Between them {what} cannot be \
             read from outside: what grows there is called SUSPECT at most. To have it proven, at a price: \
             leaktrace --pid PID --exact",
            100.0 * self.budget.share(),
        );
    }

    /// Once, what it costs and what can be done.
    fn warn(&mut self, session: &Session) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        let Some(because) = &self.must_stay else { return };
        let hit_ns = self.spent_ns.checked_div(self.hits).unwrap_or_default();
        let is_dear = hit_ns > DEAR && session.has_stepped();
        let dear = if is_dear { ", as the kernel has to single-step some" } else { "" };
        crate::say!(
            "tracing takes {:.0} % of the process's CPU time ({:.1} µs a hit{dear}), more than --budget {:.0}%, and \
             cannot be done in windows: {because}.\n  To touch it less: --watch (attaches only when the heap grows), \
             a short --duration, or --only javascript; to trace it all the same and hear no more of this: --exact",
            100.0 * self.budget.taken(),
            hit_ns as f64 / 1e3,
            100.0 * self.budget.share(),
        );
    }
}
