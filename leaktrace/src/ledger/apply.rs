//! What was heard is booked.

use super::{Hook, Ledger, State};
use crate::{
    attribute::{Frame, Place},
    event::{Event, Hooked, Mappings, ProcessEvent, Stack, Traced},
};

impl Ledger {
    /// Books one event. `Exit` is taken for the end of the whole process.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Stack(stack) => self.take(stack),
            Event::Region(region) => {
                self.heard.region_events += 1;
                self.process(region.process, 0).regions.apply(region);
            }
            Event::Process(event) => {
                self.heard.process_events += 1;
                self.apply_process(*event);
            }
            Event::Undecodable => self.heard.undecodable += 1,
            Event::Traced(Traced { process, pid, comm, command, at }) => {
                let process = self.process(*process, *pid);
                process.comm.clone_from(comm);
                process.command.clone_from(command);
                process.began(*at);
            }
            Event::Mappings(mappings) => self.remap(mappings),
            Event::Binary(binary) => {
                self.binaries.insert(binary.id, binary.path.clone());
            }
            Event::Hooked(hooked) => {
                let Hooked { number, function, javascript } = hooked.clone();
                self.hooks.insert(number, Hook { function, javascript });
            }
            Event::Engine(engine) => {
                self.engines.insert(engine.process, engine.clone());
            }
            // Of use to whoever looks up names, or judges.
            Event::Function(_) | Event::HeapEnded { .. } => {}
            Event::Paused { at, work } => self.windows.pause(*at, *work),
            Event::Resumed { at, work } => self.windows.resume(*at, *work),
            Event::Worked { at, work } => self.windows.work(*at, *work),
            Event::InUse(told) => self.bounds.tell(told),
            Event::Collection(collection) => {
                self.collections.entry(collection.process).or_default().add(*collection);
            }
        }
    }

    fn take(&mut self, stack: &Stack) {
        let Stack { id, process, tgid, hook, stop, words } = stack;
        self.process(*process, *tgid);
        let frames = self.attribution.frames(*process, words);
        // Two CPUs may send a new stack at once; a repeat after its library was unloaded must not lose the places.
        // Only one that was cut short gives way, to what the agent made of it.
        if let Some(known) = self.taken(*process, *id) {
            let (now, before) = (frames.len(), known.frames().len());
            let is_finished = now > before || (now == before && *stop != known.stop);
            if !known.stop.wants_tables() || !is_finished {
                return;
            }
        }
        if frames.iter().any(|frame| matches!(frame.place, Place::Unknown(_))) {
            self.unattributed.insert(*process);
        }
        let stacks = self.stacks.entry(*process).or_default();
        stacks.insert(*id, (*hook, *stop), &frames, |frame| self.places.extend(nameable(frame)));
    }

    /// What was placed stays so: a stack belongs to the mappings of its time.
    fn remap(&mut self, mappings: &Mappings) {
        let process = mappings.process;
        self.attribution.update(process, &mappings.list, mappings.whole);
        self.unattributed.remove(&process);
        if let Some(stacks) = self.stacks.get_mut(&process) {
            let place = |address| self.attribution.frame(process, address);
            stacks.place(place, |frame| self.places.extend(nameable(frame)));
        }
    }

    fn apply_process(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Exec { tgid, before, process, at } => {
                let old = self.process(before, tgid);
                old.state = State::Replaced { at };
                let (comm, mapped) = (old.comm.clone(), old.regions.clear());
                self.heap.forget_blocks(before);
                self.heard.dropped_by_exec.blocks += mapped.blocks;
                self.heard.dropped_by_exec.bytes += mapped.bytes;
                let new = self.process(process, tgid);
                new.comm = comm;
                new.began(at);
            }
            ProcessEvent::Fork { parent, tgid, process: Some(process), at, .. } => {
                let comm = self.processes.get(&parent).map(|parent| parent.comm.clone());
                let child = self.process(process, tgid);
                child.comm = comm.unwrap_or_default();
                child.began(at);
            }
            ProcessEvent::Fork { process: None, .. } => {}
            ProcessEvent::Exit { tgid, process, at } => {
                self.process(process, tgid).state = State::Exited { at };
            }
        }
    }
}

fn nameable(frame: &Frame) -> Option<Place> {
    Some(frame.place).filter(|place| !matches!(place, Place::Unknown(_)))
}
