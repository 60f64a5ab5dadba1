//! The kernel side's tables, taken over into the books.

use std::collections::HashSet;

use leaktrace_common::{counter::Counter, live::BlockKey, process::ProcessId, stack::StackId, v8::Sample};

use super::{super::Failure, Session, leavings::Level};
use crate::ledger::State;

impl Session {
    /// Reads the kernel's tables into the books, and clears there what belongs to programs that are gone.
    pub(in crate::run) fn snapshot(&mut self) -> Result<(), Failure> {
        self.check_engines();
        let mut snapshot = self.kernel.snapshot()?;
        for (counter, count) in [
            (Counter::UnwindUnread, self.unwinding.unread()),
            (Counter::UnwindLeftOut, self.unwinding.left_out()),
            (Counter::MappingsLost, self.mapped.lost),
        ] {
            snapshot.counters[counter as usize] = count;
        }
        self.complete(&mut snapshot);
        let ended: HashSet<ProcessId> = self
            .ledger
            .processes()
            .filter(|process| process.state != State::Running)
            .map(|process| process.id)
            .collect();
        let of_ended: Vec<BlockKey> =
            snapshot.blocks.iter().map(|(key, _)| *key).filter(|key| ended.contains(&key.process)).collect();
        if let Some(recorder) = &mut self.recorder {
            recorder
                .snapshot(&snapshot)
                .map_err(|source| Failure::Io { doing: "writing the recording", source })?;
        }
        let blocks = snapshot.blocks.len();
        let stacks: Vec<(ProcessId, StackId)> =
            snapshot.stacks.iter().map(|(id, entry)| (ProcessId(entry.process), *id)).collect();
        let has_samples = |sample: &Sample| ended.contains(&ProcessId(sample.process));
        let have_samples = snapshot.samples.iter().any(has_samples);
        self.ledger.snapshot(snapshot);
        self.kernel.forget(&of_ended)?;
        let settled = self.forget_settled(&stacks)?;
        let level = |room: u32, all: usize, cleared: usize| Level {
            room: room as usize,
            cleared,
            left: all - cleared,
        };
        let (max_stacks, max_live) = self.kernel.room();
        self.leavings
            .cleared([level(max_stacks, stacks.len(), settled), level(max_live, blocks, of_ended.len())]);
        if have_samples {
            self.kernel.forget_samples(|process| ended.contains(&process))?;
        }
        Ok(())
    }

    /// Of processes whose books are closed the kernel side needs no stacks: a build that is followed has thousands of
    /// processes with stacks of their own. How many went.
    fn forget_settled(&mut self, stacks: &[(ProcessId, StackId)]) -> Result<usize, Failure> {
        let settled: HashSet<ProcessId> = self.ledger.settled().collect();
        let done =
            |(process, id): &&(ProcessId, StackId)| *id != StackId::UNKNOWN && settled.contains(process);
        let done: Vec<StackId> = stacks.iter().filter(done).map(|(_, id)| *id).collect();
        for id in &done {
            self.ended_unheard.remove(id);
        }
        let unfinished = self.unfinished.extract_if(|process, _| settled.contains(process));
        let unfinished: u64 = unfinished.map(|(_, count)| count).sum();
        self.kernel.forget_stacks(&done, unfinished)?;
        Ok(done.len())
    }
}
