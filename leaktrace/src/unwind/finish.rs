//! The walks that the kernel side could not end, its tables not being there yet: gone on with from where they stopped,
//! by the same step, over the copy of the stack that it sent.

use leaktrace_common::{
    stack::StopReason,
    unfinished::PendingReturn,
    unwind::{Arena, MappingEntry, ProcessTable, Rule, World, rule_at, step},
};

use crate::event::Unfinished;

#[cfg(target_arch = "aarch64")]
use leaktrace_common::unwind::Aarch64 as Here;
#[cfg(target_arch = "x86_64")]
use leaktrace_common::unwind::X86_64 as Here;

/// The frames above those that the kernel side found.
#[derive(Debug, PartialEq, Eq)]
pub struct Above {
    pub addresses: Vec<u64>,
    /// None where the stack goes on beyond the copy.
    pub stop: Option<StopReason>,
}

/// Walks on, up to `room` frames.
pub fn walk_on(arena: impl Arena, table: &ProcessTable, rest: &Unfinished, room: usize) -> Above {
    let mut registers = rest.registers;
    let mut copy = Copied {
        arena,
        table,
        mapping: MappingEntry::default(),
        base: registers.stack_pointer,
        words: &rest.words,
        pending: &rest.pending,
        is_short: false,
    };
    let mut addresses = Vec::new();
    let stop = loop {
        if let Err(reason) = step::<Here, _>(&mut registers, &mut copy) {
            let is_guess = reason == StopReason::End && registers.guessed != 0;
            let reason = if is_guess { StopReason::Guessed } else { reason };
            break (!copy.is_short).then_some(reason);
        }
        if addresses.len() == room {
            break Some(StopReason::TooDeep);
        }
        addresses.push(registers.pc);
    };
    Above { addresses, stop }
}

struct Copied<'a, A> {
    arena: A,
    table: &'a ProcessTable,
    mapping: MappingEntry,
    /// Address of the first word.
    base: u64,
    words: &'a [u64],
    pending: &'a [PendingReturn],
    /// Something above the copy was asked for.
    is_short: bool,
}

impl<A: Arena> World for Copied<'_, A> {
    fn rule(&mut self, pc: u64) -> Result<Rule, StopReason> {
        rule_at(self.arena, self.table, &mut self.mapping, pc)
    }

    fn stack_word(&mut self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base).filter(|_| address & 7 == 0)?;
        let word = usize::try_from(offset / 8).ok().and_then(|index| self.words.get(index)).copied();
        self.is_short |= word.is_none();
        word
    }

    fn stack_words(&mut self, address: u64) -> Option<[u64; 8]> {
        let mut words = [0; 8];
        for (word, index) in words.iter_mut().zip(0..) {
            *word = self.stack_word(address.checked_add(index * 8)?)?;
        }
        Some(words)
    }

    fn returns_to(&mut self, key: u64, found: u64) -> u64 {
        self.pending.iter().find(|pending| pending.key == key).map_or(found, |pending| pending.original)
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_common::{
        process::ProcessId,
        stack::StackId,
        unwind::{Architecture, Ref, Registers},
    };
    use zerocopy::IntoBytes;

    use super::*;

    /// One mapping of code without tables, whose frames are chained by frame pointers.
    #[derive(Clone, Copy)]
    struct Chained;

    const CODE: u64 = 0x40_0000;
    const STACK: u64 = 0x1000;

    impl Arena for Chained {
        type Chunk = ();

        fn chunk(self, _: Ref) -> Option<()> {
            Some(())
        }

        fn word((): (), index: u32) -> u32 {
            let flags = MappingEntry::NO_TABLES;
            let entry = MappingEntry { start: CODE, end: CODE + 0x1000, flags, ..MappingEntry::default() };
            let words = entry.as_bytes().as_chunks::<4>().0;
            words.get(index as usize).map_or(0, |word| u32::from_ne_bytes(*word))
        }
    }

    const TABLE: ProcessTable =
        ProcessTable { mappings: Ref(0), count: 1, generation: 1, epoch: 1, flags: 0 };

    /// Two frames above the one that the walk stopped at, and the end.
    fn rest() -> Unfinished {
        Unfinished {
            id: StackId(1),
            process: ProcessId(1),
            tgid: 1,
            at: 0,
            registers: Registers {
                pc: CODE + 0x10,
                stack_pointer: STACK,
                frame_pointer: STACK + 8,
                is_return: 1,
                ..Registers::default()
            },
            pending: [PendingReturn { key: PendingReturn::NOWHERE, original: 0 }; 8],
            words: vec![7, STACK + 32, CODE + 0x20, 7, 0, CODE + 0x30],
        }
    }

    fn above(rest: &Unfinished, room: usize) -> (Vec<u64>, Option<StopReason>) {
        let Above { addresses, stop } = walk_on(Chained, &TABLE, rest, room);
        (addresses.iter().map(|address| address - CODE).collect(), stop)
    }

    #[test]
    fn a_walk_goes_on_over_the_copy_to_the_outermost_frame() {
        assert_eq!(above(&rest(), 256), (vec![0x20, 0x30], Some(StopReason::End)));
    }

    #[test]
    fn a_copy_that_is_too_short_says_nothing_of_the_end() {
        let mut rest = rest();
        rest.words.truncate(5);
        assert_eq!(above(&rest, 256), (vec![0x20], None));
    }

    #[test]
    fn a_finished_stack_is_cut_where_the_kernel_side_would_cut_it() {
        assert_eq!(above(&rest(), 1), (vec![0x20], Some(StopReason::TooDeep)));
    }

    #[test]
    fn a_return_probe_that_was_pending_is_seen_through() {
        let mut rest = rest();
        rest.words[2] = 0xdead;
        let key = (STACK + 24).wrapping_add(Here::RETURN_PROBE_KEY as u64);
        rest.pending[0] = PendingReturn { key, original: CODE + 0x20 };
        assert_eq!(above(&rest, 256), (vec![0x20, 0x30], Some(StopReason::End)));
    }

    #[test]
    fn an_end_that_was_reached_by_guesses_is_none_to_rely_on() {
        let makes_code = ProcessTable { flags: ProcessTable::HAS_JIT, ..TABLE };
        let mut rest = rest();
        rest.words[2] = CODE + 0x2000;
        let Above { addresses, stop } = walk_on(Chained, &makes_code, &rest, 256);
        assert_eq!((addresses.len(), stop), (2, Some(StopReason::Guessed)));
    }

    #[test]
    fn code_that_is_still_unknown_ends_the_walk() {
        let mut rest = rest();
        rest.words[2] = CODE + 0x2000;
        assert_eq!(above(&rest, 256), (vec![0x2000], Some(StopReason::UnknownCode)));
    }
}
