extern crate std;

use std::vec::Vec;

use super::*;
use crate::unwind::{Aarch64, X86_64};

/// Code where one rule holds, on a stack whose first word is at 0x1000.
struct Fixture {
    rule: Rule,
    stack: Vec<u64>,
    /// Key and original address of a pending return probe.
    pending: (u64, u64),
}

const STACK: u64 = 0x1000;

impl Fixture {
    fn new(rule: Rule, stack: &[u64]) -> Self {
        Self { rule, stack: stack.to_vec(), pending: (u64::MAX, 0) }
    }
}

impl World for Fixture {
    fn rule(&mut self, _: u64) -> Result<Rule, StopReason> {
        Ok(self.rule)
    }

    fn stack_word(&mut self, address: u64) -> Option<u64> {
        let index = address.checked_sub(STACK).filter(|offset| offset & 7 == 0)? / 8;
        self.stack.get(index as usize).copied()
    }

    fn stack_words(&mut self, address: u64) -> Option<[u64; 8]> {
        let mut words = [0; 8];
        for (word, index) in words.iter_mut().zip(0u64..) {
            *word = self.stack_word(address + index * 8)?;
        }
        Some(words)
    }

    fn returns_to(&mut self, key: u64, found: u64) -> u64 {
        if key == self.pending.0 { self.pending.1 } else { found }
    }
}

fn registers(frame_pointer: u64) -> Registers {
    Registers { pc: 0x40_0000, stack_pointer: STACK, frame_pointer, is_return: 1, ..Registers::default() }
}

#[test]
fn a_saved_register_is_read_only_when_a_frame_needs_it() {
    let saved = Slot::at(-16).unwrap();
    let mut world = Fixture::new(
        Rule::new(Kind::StackPointer, 0, saved, Slot::SAME, 24, 0),
        &[7, 0x1018, 0xaaaa, 9, 0xbbbb],
    );
    let mut at = registers(0);
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    assert_eq!((at.pc, at.stack_pointer, at.frame_pointer_at), (0xaaaa, 0x1018, 0x1008));
    world.rule = Rule::new(Kind::FramePointer, 0, Slot::SAME, Slot::SAME, 16, 0);
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    assert_eq!((at.pc, at.stack_pointer, at.frame_pointer), (0xbbbb, 0x1028, 0x1018));
}

#[test]
fn a_lost_register_ends_the_walk_where_it_is_needed_not_before() {
    let mut world =
        Fixture::new(Rule::new(Kind::StackPointer, 0, Slot::LOST, Slot::LOST, 8, 0), &[0xaaaa, 0xbbbb]);
    let mut at = registers(0x1010);
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    world.rule = Rule::new(Kind::FramePointer, 0, Slot::SAME, Slot::SAME, 16, 0);
    assert_eq!(step::<X86_64, _>(&mut at, &mut world), Err(StopReason::Unreadable));
}

#[test]
fn a_pending_return_probe_is_seen_through() {
    let mut world = Fixture::new(Rule::new(Kind::StackPointer, 0, Slot::SAME, Slot::SAME, 8, 0), &[0xdead]);
    world.pending = (STACK, 0xaaaa);
    let mut at = registers(0);
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    assert_eq!(at.pc, 0xaaaa);
}

#[test]
fn a_signal_frame_gives_the_exact_address_and_all_registers() {
    let mut stack = [0; 64];
    let base = X86_64::SIGNAL_FRAME as usize / 8;
    stack[base..base + 8].copy_from_slice(&[1, 2, 3, 4, 5, 0x1100, 0xcccc, 0]);
    let mut world = Fixture::new(Rule::of(Kind::Signal), &stack);
    let mut at = registers(0);
    step::<X86_64, _>(&mut at, &mut world).unwrap();
    assert_eq!(
        at,
        Registers { pc: 0xcccc, stack_pointer: 0x1100, frame_pointer: 1, second: 2, ..Registers::default() }
    );
}

#[test]
fn a_linkage_table_entry_has_pushed_a_word_from_its_byte_eleven_on() {
    let plt = Rule::new(Kind::Plt, 0, Slot::SAME, Slot::SAME, 11, 0);
    for (pc, stack_pointer) in [(0x40_0006, 0x1008), (0x40_000b, 0x1010)] {
        let mut at = Registers { pc, is_return: 0, ..registers(0) };
        step::<X86_64, _>(&mut at, &mut Fixture::new(plt, &[0xaaaa, 0xbbbb])).unwrap();
        assert_eq!(at.stack_pointer, stack_pointer);
    }
}

#[test]
fn a_realigned_frame_of_gcc_finds_its_caller_through_memory() {
    // CFA = *(frame pointer - 8), the caller's frame pointer where the frame pointer points.
    let rule =
        Rule::new(Kind::DerefFramePointer, flags::FRAME_POINTER_AT_ITSELF, Slot::SAME, Slot::SAME, -8, 0);
    let mut at = registers(0x1010);
    step::<X86_64, _>(&mut at, &mut Fixture::new(rule, &[0, 0x1028, 0x7777, 0, 0xaaaa])).unwrap();
    assert_eq!((at.pc, at.stack_pointer, at.frame_pointer_at), (0xaaaa, 0x1028, 0x1010));
}

#[test]
fn the_frame_pointer_chain_is_checked_at_each_link() {
    let stack = [0, 0, 0x1028, 0xaaaa];
    for (frame_pointer, outcome) in [
        (0x1010, Ok(())),
        (0, Err(StopReason::End)),
        (0x0ff8, Err(StopReason::NoFramePointer)),
        (STACK + FRAME_SPAN + 8, Err(StopReason::NoFramePointer)),
        (0x1014, Err(StopReason::Unreadable)),
    ] {
        let mut at = registers(frame_pointer);
        assert_eq!(step::<X86_64, _>(&mut at, &mut Fixture::new(Rule::CHAIN, &stack)), outcome);
    }
}

#[test]
fn a_frame_that_does_not_lie_above_the_last_is_refused() {
    let rule = Rule::new(Kind::StackPointer, 0, Slot::SAME, Slot::SAME, 0, 0);
    let outcome = step::<X86_64, _>(&mut registers(0), &mut Fixture::new(rule, &[1, 2]));
    assert_eq!(outcome, Err(StopReason::BadFrame));
}

#[test]
fn on_aarch64_only_the_innermost_frame_has_its_return_address_in_the_link_register() {
    let leaf = Rule::new(Kind::StackPointer, 0, Slot::SAME, Slot::SAME, 0, 0);
    let mut at = Registers { second: 0x00aa_0000_0000_bbbb, is_return: 0, ..registers(0) };
    step::<Aarch64, _>(&mut at, &mut Fixture::new(leaf, &[])).unwrap();
    // Without its signature.
    assert_eq!(at.pc, 0xbbbb);
    assert_eq!(step::<Aarch64, _>(&mut at, &mut Fixture::new(leaf, &[])), Err(StopReason::BadFrame));
}

#[test]
fn on_aarch64_return_address_and_frame_pointer_come_from_their_slots() {
    let [frame_pointer, link] = [-32, -24].map(|bytes| Slot::at(bytes).unwrap());
    let rule = Rule::new(Kind::StackPointer, 0, frame_pointer, link, 32, 0);
    let mut at = registers(0);
    step::<Aarch64, _>(&mut at, &mut Fixture::new(rule, &[0x7777, 0xaaaa, 0, 0])).unwrap();
    assert_eq!((at.pc, at.stack_pointer, at.frame_pointer_at), (0xaaaa, 0x1020, 0x1000));
}
