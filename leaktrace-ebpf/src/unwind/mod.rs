//! From the registers at a return probe to the frames of the stack.
//!
//! The frame-pointer chain, each link checked. At the return of malloc the registers are those of its caller,
//! so its first frame needs no look-up at all.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use leaktrace_common::{
    event::StackRecord,
    stack::{MAX_FRAMES, StopReason},
};

use crate::{read, regs::Regs};

/// Where a walk stands between two frames.
#[repr(C)]
pub struct Walk {
    frame_pointer: u64,
    stack_pointer: u64,
    /// Two independent hashes of the frames so far.
    pub id: u64,
    pub check: u64,
}

/// Where the probe stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Back in the caller: a return probe.
    Returned,
    /// In the callee, whose return address is on top of the stack: at its entry or at its `ret`.
    ReturnAddressOnTop,
}

/// A frame pointer further than this above the last one is not one: the default limit of a stack.
const FRAME_SPAN: u64 = 8 << 20;

/// Fills `record.frames`, `depth` and `stop`, and the two hashes, which the caller has started.
#[inline(always)]
pub fn unwind(walk: &mut Walk, record: &mut StackRecord, regs: Regs<'_>, start: Start) {
    record.depth = 0;
    record.stop = StopReason::TooDeep as u32;
    let mut caller = [regs.instruction_pointer()];
    if start == Start::ReturnAddressOnTop && !read::user(regs.stack_pointer(), &mut caller) {
        record.stop = StopReason::Unreadable as u32;
        return;
    }
    push(walk, record, caller[0]);
    walk.frame_pointer = regs.frame_pointer();
    walk.stack_pointer = regs.stack_pointer();
    let mut context = Context { walk, record };
    // SAFETY: `step` is given this context and nothing else, and it outlives the call.
    unsafe {
        bpf_loop(MAX_FRAMES as u32, step as *const () as *mut c_void, (&raw mut context).cast(), 0);
    }
}

struct Context {
    walk: *mut Walk,
    record: *mut StackRecord,
}

/// One frame. Returns 1 at the end of the stack, as `bpf_loop` has it.
unsafe extern "C" fn step(_: u32, context: *mut Context) -> i64 {
    // SAFETY: `bpf_loop` passes on the context that `unwind` made, whose references are live and not used meanwhile.
    let (walk, record) = unsafe { (&mut *(*context).walk, &mut *(*context).record) };
    let frame = walk.frame_pointer;
    if frame == 0 {
        return stop(record, StopReason::End);
    }
    if frame & 7 != 0 || frame < walk.stack_pointer || frame - walk.stack_pointer > FRAME_SPAN {
        return stop(record, StopReason::NoFramePointer);
    }
    let mut saved = [0u64; 2];
    if !read::user(frame, &mut saved) {
        return stop(record, StopReason::Unreadable);
    }
    let [caller_frame, return_address] = saved;
    if return_address == 0 {
        return stop(record, StopReason::End);
    }
    walk.stack_pointer = frame + 16;
    walk.frame_pointer = caller_frame;
    if !push(walk, record, return_address) {
        return stop(record, StopReason::TooDeep);
    }
    0
}

#[inline(always)]
fn stop(record: &mut StackRecord, reason: StopReason) -> i64 {
    record.stop = reason as u32;
    1
}

#[inline(always)]
fn push(walk: &mut Walk, record: &mut StackRecord, address: u64) -> bool {
    let depth = record.depth as usize;
    if depth >= MAX_FRAMES {
        return false;
    }
    record.frames[depth & (MAX_FRAMES - 1)] = address;
    record.depth = depth as u32 + 1;
    mix(walk, address);
    true
}

/// Adds a word to both hashes: multiply and fold, with two odd constants (of splitmix64 and of xxHash).
#[inline(always)]
pub fn mix(walk: &mut Walk, word: u64) {
    let id = (walk.id ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    walk.id = id ^ (id >> 29);
    let check = (walk.check ^ word).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    walk.check = check ^ (check >> 31);
}
