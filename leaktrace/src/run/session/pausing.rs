//! Native memory is watched, or not for a while; and so are refills of V8's allocation areas.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use leaktrace_common::{
    counter::Counter,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{AGE_UNIT_SHIFT, StackEntry, age_bucket},
    v8::Window,
};

use super::{
    super::{Failure, windows::Fates},
    Session,
};
use crate::{
    event::{Event, Snapshot},
    kernel::{
        attach::Program,
        clock,
        cost::{Runs, Timing, Traps},
    },
};

impl Session {
    /// Probes of native memory are placed together, by `resume`: while one file after another is read, they would cost.
    pub(in super::super) fn hold_back(&mut self) {
        self.probes.hold_back();
    }

    /// Stops watching in all processes at one moment, and lifts the probes. When that was; until they are gone they are timed.
    pub(in super::super) fn pause(&mut self, timing: &Arc<Option<Timing>>) -> Result<u64, Failure> {
        let at = self.kernel.watch_heap(false)?;
        self.probes.lift(timing);
        Ok(at)
    }

    /// Places the probes again, and watches from then on.
    pub(in super::super) fn resume(&mut self) -> Result<u64, Failure> {
        self.probes.place_again(&mut self.kernel)?;
        Ok(self.kernel.watch_heap(true)?)
    }

    /// What was found out about windows.
    pub(in super::super) fn tell(&mut self, event: &Event) {
        self.say(event);
    }

    /// Every live block of native memory in the kernel side's table.
    pub(in super::super) fn blocks(&self) -> Result<Vec<(BlockKey, Block)>, Failure> {
        Ok(self.kernel.blocks()?)
    }

    /// Books what became of blocks while nobody heard of it, and takes them out of that table.
    pub(in super::super) fn settle(&mut self, fates: &Fates) -> Result<(), Failure> {
        let Fates { freed, unfollowed, in_use } = fates;
        let keys = freed.iter().map(|(key, ..)| key).chain(unfollowed.iter().map(|(key, _)| key));
        self.kernel.forget(keys)?;
        for (_, block, seen) in freed {
            let gone = self.end_unheard(block);
            gone.deaths[age_bucket(seen.saturating_sub(block.born) >> AGE_UNIT_SHIFT)] += 1;
        }
        // They live no more as far as is known, and died at no age that is.
        for (_, block) in unfollowed {
            self.end_unheard(block);
        }
        self.unfollowed += unfollowed.len() as u64;
        in_use.iter().for_each(|told| self.say(&Event::InUse(told.clone())));
        Ok(())
    }

    fn end_unheard(&mut self, block: &Block) -> &mut StackEntry {
        let gone = self.ended_unheard.entry(block.stack()).or_default();
        gone.frees += 1;
        gone.freed_bytes += block.size;
        gone
    }

    /// Adds what was booked so to the kernel side's counters.
    pub(super) fn complete(&self, snapshot: &mut Snapshot) {
        for (id, entry) in &mut snapshot.stacks {
            if let Some(gone) = self.ended_unheard.get(id) {
                entry.frees += gone.frees;
                entry.freed_bytes += gone.freed_bytes;
                entry.deaths.iter_mut().zip(gone.deaths).for_each(|(sum, more)| *sum += more);
            }
        }
        snapshot.counters[Counter::Unfollowed as usize] = self.unfollowed;
    }

    pub(in super::super) fn runs(&self) -> Option<Runs> {
        self.kernel.runs()
    }

    /// What a trap takes here. One of those measured is of a return probe, which must not end leaktrace itself either.
    pub(in super::super) fn measure_traps(&mut self) -> Result<Traps, Failure> {
        if let Some(own) = NonZeroU32::new(std::process::id()) {
            self.refuse_if_deadly(own)?;
        }
        Ok(self.kernel.measure_traps()?)
    }

    /// Whether probes can be lifted and placed again at once.
    pub(in super::super) fn is_quick(&self) -> bool {
        self.kernel.is_quick()
    }

    pub(in super::super) fn is_stepped(&self, program: Program) -> bool {
        self.probes.is_stepped(program)
    }

    pub(in super::super) fn has_stepped(&self) -> bool {
        self.probes.has_stepped()
    }

    pub(in super::super) fn other_allocator(&self) -> Option<String> {
        self.probes.other_allocator()
    }

    /// Processes that run and are traced.
    pub(in super::super) fn running(&self) -> impl Iterator<Item = (ProcessId, u32)> {
        self.targets.iter().map(|target| (target.process, target.pid.get()))
    }

    /// Refills of V8's allocation areas and nanoseconds of CPU time, of each running process that has V8.
    pub(in super::super) fn refills(&self) -> HashMap<ProcessId, (u32, u64)> {
        let of = |(process, pid)| {
            let refills = self.kernel.v8_state(process)?.refills;
            Some((process, (refills, clock::of_process(pid)?)))
        };
        self.running().filter(|(process, _)| self.engines.knows(*process)).filter_map(of).collect()
    }

    /// Whether they can be left unseen for a while, and their probes be placed again at once.
    pub(in super::super) fn can_pause_refills(&mut self) -> bool {
        self.kernel.has_sessions()
    }

    pub(in super::super) fn lift_refills(&mut self) {
        self.probes.lift_refills();
    }

    pub(in super::super) fn place_refills(&mut self) -> Result<(), Failure> {
        Ok(self.probes.place_refills_again(&mut self.kernel)?)
    }

    /// When they are looked at.
    pub(in super::super) fn open_refills(&self, window: Window) -> Result<(), Failure> {
        Ok(self.kernel.set_v8_window(window)?)
    }

    pub(in super::super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.targets.iter().map(|target| target.pid.get())
    }
}
