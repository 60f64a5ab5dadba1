//! From a frame's registers to its caller's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    architecture::Architecture,
    table::{Kind, Rule, Slot, flags},
};
use crate::stack::StopReason;

/// What a step needs from the world: the kernel's helpers, a recording, or a test.
pub trait World {
    /// The rule for the code at `pc`, or why there is none.
    fn rule(&mut self, pc: u64) -> Result<Rule, StopReason>;

    /// A word of the stack; none where it cannot be read or the address is not a multiple of 8.
    fn stack_word(&mut self, address: u64) -> Option<u64>;

    /// Eight words of the stack.
    fn stack_words(&mut self, address: u64) -> Option<[u64; 8]>;

    /// The return address that a pending return probe has put its own in place of; `found` where there is none.
    /// `key` is the place of the return address, see [`Architecture::RETURN_PROBE_KEY`]. Called with growing keys.
    fn returns_to(&mut self, key: u64, found: u64) -> u64;

    /// Told of each frame that is left by the frame-pointer chain, with its frame pointer.
    #[inline(always)]
    fn left_by_chain(&mut self, _frame_pointer: u64) {}
}

/// Where a walk stands.
///
/// A caller's saved registers are remembered by place and read only when a frame's CFA needs them: most never are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Registers {
    pub pc: u64,
    pub stack_pointer: u64,
    pub frame_pointer: u64,
    /// rbx on x86_64, the link register on aarch64.
    pub second: u64,
    /// Where the frame pointer has to be read from first; 0: it is in `frame_pointer`.
    pub frame_pointer_at: u64,
    pub second_at: u64,
    /// 1 where `pc` is a return address: the call before it is what ran. 0 where `pc` itself was about to run.
    pub is_return: u64,
    /// 1 once a rule was a guess, see [`flags::GUESSED`].
    pub guessed: u64,
}

/// No register is saved at an odd address, so that reading it there ends the walk.
const NOWHERE: u64 = 1;
/// A frame pointer further than this above the stack pointer is not one: the default limit of a stack.
const FRAME_SPAN: u64 = 8 << 20;

impl Registers {
    #[inline(always)]
    fn frame_pointer(&mut self, world: &mut impl World) -> Result<u64, StopReason> {
        if self.frame_pointer_at != 0 {
            self.frame_pointer = world.stack_word(self.frame_pointer_at).ok_or(StopReason::Unreadable)?;
            self.frame_pointer_at = 0;
        }
        Ok(self.frame_pointer)
    }

    #[inline(always)]
    fn second(&mut self, world: &mut impl World) -> Result<u64, StopReason> {
        if self.second_at != 0 {
            self.second = world.stack_word(self.second_at).ok_or(StopReason::Unreadable)?;
            self.second_at = 0;
        }
        Ok(self.second)
    }
}

/// Steps to the caller, whose address `registers.pc` then is.
#[inline(always)]
pub fn step<A: Architecture, W: World>(registers: &mut Registers, world: &mut W) -> Result<(), StopReason> {
    let rule = world.rule(registers.pc - registers.is_return)?;
    let kind = rule.kind();
    let cfa;
    // The two kinds of nearly all frames come first, and the rest in one branch.
    if kind == Kind::StackPointer as u32 {
        cfa = registers.stack_pointer.wrapping_add(rule.cfa_bytes());
    } else if kind == Kind::FramePointer as u32 {
        cfa = registers.frame_pointer(world)?.wrapping_add(rule.cfa_bytes());
    } else if kind == Kind::Chain as u32 {
        if rule.flags() & flags::GUESSED != 0 {
            registers.guessed = 1;
        }
        return chain::<A, W>(registers, world);
    } else if kind == Kind::End as u32 {
        return Err(StopReason::End);
    } else if kind == Kind::Signal as u32 {
        return signal::<A, W>(registers, world);
    } else {
        cfa = rare_cfa::<A, W>(rule, registers, world)?;
    }
    if A::RETURN_ADDRESS.is_some() {
        remember_second(rule, cfa, registers);
    }
    let return_address = return_address::<A, W>(rule, cfa, registers, world)?;
    remember_frame_pointer(rule, cfa, registers);
    arrive::<A>(registers, cfa, return_address)
}

/// The CFA of frames that one in a thousand is.
#[inline(always)]
fn rare_cfa<A: Architecture, W: World>(
    rule: Rule,
    registers: &mut Registers,
    world: &mut W,
) -> Result<u64, StopReason> {
    let kind = rule.kind();
    let offset = rule.cfa_bytes();
    if kind == Kind::Second as u32 && A::RETURN_ADDRESS.is_some() {
        return Ok(registers.second(world)?.wrapping_add(offset));
    }
    if kind == Kind::Plt as u32 {
        let pushed = if registers.pc & 15 >= offset { 16 } else { 8 };
        return Ok(registers.stack_pointer.wrapping_add(pushed));
    }
    let base = if kind == Kind::DerefFramePointer as u32 {
        registers.frame_pointer(world)?
    } else if kind == Kind::DerefStackPointer as u32 {
        registers.stack_pointer
    } else {
        return Err(StopReason::Unsupported);
    };
    let value = world.stack_word(base.wrapping_add(offset)).ok_or(StopReason::Unreadable)?;
    Ok(value.wrapping_add(rule.post_bytes()))
}

#[inline(always)]
fn remember_second(rule: Rule, cfa: u64, registers: &mut Registers) {
    let slot = rule.second();
    if rule.flags() & flags::SECOND_FROM_FRAME_POINTER != 0 {
        // Such a rule's CFA comes from the frame pointer, which thus has been read.
        registers.second_at = registers.frame_pointer.wrapping_add(slot.bytes());
    } else if slot.is_saved() {
        registers.second_at = cfa.wrapping_add(slot.bytes());
    } else if slot == Slot::LOST {
        registers.second_at = NOWHERE;
    }
}

#[inline(always)]
fn remember_frame_pointer(rule: Rule, cfa: u64, registers: &mut Registers) {
    let slot = rule.frame_pointer();
    if rule.flags() & flags::FRAME_POINTER_AT_ITSELF != 0 {
        registers.frame_pointer_at = registers.frame_pointer;
    } else if slot.is_saved() {
        registers.frame_pointer_at = cfa.wrapping_add(slot.bytes());
    } else if slot == Slot::LOST {
        registers.frame_pointer_at = NOWHERE;
    }
}

#[inline(always)]
fn return_address<A: Architecture, W: World>(
    rule: Rule,
    cfa: u64,
    registers: &mut Registers,
    world: &mut W,
) -> Result<u64, StopReason> {
    let (place, is_deeper) = match A::RETURN_ADDRESS {
        Some(offset) => (cfa.wrapping_add(offset as u64), cfa > registers.stack_pointer),
        None if rule.second().is_saved() => {
            (cfa.wrapping_add(rule.second().bytes()), cfa > registers.stack_pointer)
        }
        // Still in the link register: only the innermost frame, or one interrupted by a signal, can have it there.
        None if registers.is_return == 0 => (0, cfa >= registers.stack_pointer),
        None => return Err(StopReason::BadFrame),
    };
    // A caller's frame lies above: what says otherwise is wrong and could go round for ever.
    if !is_deeper {
        return Err(StopReason::BadFrame);
    }
    let found = if A::RETURN_ADDRESS.is_none() && place == 0 {
        registers.second
    } else {
        world.stack_word(place).ok_or(StopReason::Unreadable)?
    };
    Ok(world.returns_to(cfa.wrapping_add(A::RETURN_PROBE_KEY as u64), found))
}

/// A frame by the frame-pointer chain: the frame pointer points to the caller's, above which is the return address.
#[inline(always)]
fn chain<A: Architecture, W: World>(registers: &mut Registers, world: &mut W) -> Result<(), StopReason> {
    let frame = registers.frame_pointer(world)?;
    // The ABIs have it 0 in the outermost frame.
    if frame == 0 {
        return Err(StopReason::End);
    }
    if frame < registers.stack_pointer || frame - registers.stack_pointer > FRAME_SPAN {
        return Err(StopReason::NoFramePointer);
    }
    let found = world.stack_word(frame.wrapping_add(8)).ok_or(StopReason::Unreadable)?;
    let cfa = frame.wrapping_add(16);
    let return_address = world.returns_to(cfa.wrapping_add(A::RETURN_PROBE_KEY as u64), found);
    registers.frame_pointer_at = frame;
    world.left_by_chain(frame);
    arrive::<A>(registers, cfa, return_address)
}

/// The interrupted instruction: its address is exact and every register is in the frame.
#[inline(always)]
fn signal<A: Architecture, W: World>(registers: &mut Registers, world: &mut W) -> Result<(), StopReason> {
    let at = registers.stack_pointer.wrapping_add(A::SIGNAL_FRAME);
    let frame = A::signal_frame(world.stack_words(at).ok_or(StopReason::Unreadable)?);
    registers.pc = frame.pc;
    registers.stack_pointer = frame.stack_pointer;
    registers.frame_pointer = frame.frame_pointer;
    registers.second = frame.second;
    registers.frame_pointer_at = 0;
    registers.second_at = 0;
    registers.is_return = 0;
    Ok(())
}

#[inline(always)]
fn arrive<A: Architecture>(
    registers: &mut Registers,
    cfa: u64,
    return_address: u64,
) -> Result<(), StopReason> {
    let pc = return_address & A::ADDRESS_BITS;
    registers.pc = pc;
    registers.stack_pointer = cfa;
    registers.is_return = 1;
    // Threads of some runtimes start with a return address of 0.
    if pc == 0 { Err(StopReason::End) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
