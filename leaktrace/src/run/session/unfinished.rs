//! Stacks that the kernel side cut short because it had no tables yet: a program that has just begun, a library just
//! mapped. The tables are made first, then the walk goes on. And stacks that it walked by the tables of a library that
//! another one has taken the place of: they are cut short.

use std::collections::BTreeMap;

use leaktrace_common::{process::ProcessId, stack::StopReason};

use super::{SETTLING, Session};
use crate::{
    event::{Event, Stack, Unfinished},
    kernel::clock,
};

impl Session {
    /// Finishes what can be. To be called when the mappings that were told of with these are in the books.
    pub(super) fn finish(&mut self, rests: &[Unfinished]) {
        let processes: BTreeMap<ProcessId, u32> =
            rests.iter().map(|rest| (rest.process, rest.tgid)).collect();
        if !processes.is_empty() {
            // More are likely to come, and the sooner the tables are there the fewer.
            self.settling = clock::now() + SETTLING;
        }
        for (process, tgid) in &processes {
            self.update_tables(*process, *tgid);
        }
        for rest in rests {
            *self.unfinished.entry(rest.process).or_default() += 1;
            if let Some(stack) = self.finished(rest) {
                self.say(&Event::Stack(stack));
            }
        }
        // Those that have ended or run another program by now got tables for this alone.
        for process in processes.into_keys() {
            if self.pid_of(process).is_none() {
                self.drop_tables(process);
            }
        }
    }

    /// A stack as far as it was not walked by the tables of code that has been replaced by then.
    pub(super) fn cut_where_doubtful(&self, mut stack: Stack) -> Stack {
        let addresses = stack.words.iter().copied();
        let is_chained = |address| self.unwinding.is_chained(stack.process, address);
        if let Some(trusted) = self.spaces.trusted(stack.tgid, stack.process, addresses, is_chained) {
            stack.words.truncate(trusted);
            stack.stop = StopReason::UnknownCode;
        }
        stack
    }

    fn finished(&self, rest: &Unfinished) -> Option<Stack> {
        // What stands there now is not what ran then: the stack stays as short as it is, and is marked so.
        if self.spaces.was_replaced_since(rest.tgid, rest.process, rest.at) {
            return None;
        }
        let taken = self.ledger.taken(rest.process, rest.id)?;
        let mut addresses: Vec<u64> = taken.frames().map(|frame| frame.address).collect();
        // It was cut below the place that the walk would go on from.
        let is_chained = |address| self.unwinding.is_chained(rest.process, address);
        if self.spaces.trusted(rest.tgid, rest.process, addresses.iter().copied(), is_chained).is_some() {
            return None;
        }
        let above = self.unwinding.walk_on(rest, addresses.len())?;
        addresses.extend(above.addresses);
        Some(Stack {
            id: rest.id,
            process: rest.process,
            tgid: rest.tgid,
            hook: taken.hook,
            stop: above.stop.unwrap_or(taken.stop),
            words: addresses,
        })
    }
}
