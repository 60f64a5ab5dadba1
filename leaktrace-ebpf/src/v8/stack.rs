//! JavaScript frames of a stack: each return address that has one is followed by its function.
//!
//! Frames of V8's code are left by the frame-pointer chain, and hold from the frame pointer downwards: the context, or
//! in frames that are not JavaScript's a small integer; the function; the number of arguments or the feedback; and
//! where interpreted the bytecode and the offset in it.
//! <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/execution/frame-constants.h>

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use leaktrace_common::{
    counter::Counter,
    event::StackRecord,
    process::ProcessId,
    stack::{MAX_FRAMES, StopReason},
    v8::{FunctionKey, Layout, Word, can},
};

use super::{function::key_of, object::is_tagged};
use crate::{count::count, read, scratch::Scratch, unwind::push};

#[repr(C)]
struct Context {
    scratch: *mut Scratch,
    /// To a [`Layout`], see `heap::Look`.
    layout: *const c_void,
    process: ProcessId,
}

/// Makes of the return addresses in `scratch.record` the words in `scratch.javascript`. Whether there are functions among
/// them.
#[inline(always)]
pub fn with_functions(scratch: &mut Scratch, layout: &Layout, process: ProcessId) -> bool {
    let depth = scratch.record.depth;
    scratch.javascript.depth = 0;
    // The probed function is no frame of the record.
    scratch.walk.chained_passed = u64::from(scratch.walk.chained[0].depth == 0);
    scratch.javascript.stop = scratch.record.stop;
    let mut context =
        Context { scratch: &raw mut *scratch, layout: core::ptr::from_ref(layout).cast(), process };
    // SAFETY: `frame` is given this context and nothing else, and it outlives the call.
    unsafe { bpf_loop(depth, frame as *const () as *mut c_void, (&raw mut context).cast(), 0) };
    scratch.javascript.depth > depth
}

/// One frame. Returns 1 when there is no room for more.
unsafe extern "C" fn frame(index: u32, context: *mut Context) -> i64 {
    // SAFETY: `bpf_loop` passes on the context that was made above, whose references are live.
    let (scratch, layout, process) =
        unsafe { (&mut *(*context).scratch, &*(*context).layout.cast::<Layout>(), (*context).process) };
    let index = index as usize & (MAX_FRAMES - 1);
    let Scratch { record: walked, walk, javascript: record, .. } = scratch;
    let pc = walked.frames[index];
    if !push(&mut walk.hashes, record, pc) {
        record.stop = StopReason::TooDeep as u32;
        return 1;
    }
    let next = walk.chained[walk.chained_passed as usize & (MAX_FRAMES - 1)];
    if walk.chained_passed >= walk.chained_count || next.depth != index as u64 + 1 {
        return 0;
    }
    walk.chained_passed += 1;
    let frame_pointer = next.frame_pointer;
    let mut slots = [0; 5];
    if !read::user(frame_pointer - 40, &mut slots) {
        return 0;
    }
    let [offset, bytecode, _, function, of] = slots;
    if layout.can & can::FRAMES == 0 {
        return 0;
    }
    if let Some(key) = wasm(layout, pc, of) {
        let is_told = push(&mut walk.hashes, record, Word::Function(key).pack());
        return told(record, is_told);
    }
    if !is_tagged(of) || !is_tagged(function) {
        return 0;
    }
    let is_interpreted = is_interpreted(layout, pc) && is_tagged(bytecode) && offset & 0xffff_ffff == 0;
    let Some(key) = key_of(layout, process, function, if is_interpreted { bytecode } else { 0 }) else {
        count(Counter::FunctionUnread);
        return 0;
    };
    let is_told = push(&mut walk.hashes, record, Word::Function(key).pack())
        && (!is_interpreted || push(&mut walk.hashes, record, Word::Bytecode((offset >> 32) as u32).pack()));
    told(record, is_told)
}

/// What the loop is told of a frame whose words did or did not fit.
#[inline(always)]
fn told(record: &mut StackRecord, is_told: bool) -> i64 {
    if is_told {
        return 0;
    }
    record.stop = StopReason::TooDeep as u32;
    1
}

/// Whether `pc` is where interpreted functions run.
#[inline(always)]
fn is_interpreted(layout: &Layout, pc: u64) -> bool {
    let [start, end] = layout.interpreter;
    let is_within = |builtins: [u64; 2]| {
        let offset = pc.wrapping_sub(builtins[0]);
        builtins[0] != 0 && offset > start && offset <= end
    };
    is_within(layout.builtins) || is_within(layout.builtins_copy)
}

/// What stands for code made for WebAssembly, by the small integer `of` of its frame.
#[inline(always)]
fn wasm(layout: &Layout, pc: u64, of: u64) -> Option<FunctionKey> {
    // 0 is what is not known, and a context of nothing.
    if of == 0 || is_builtin(layout, pc) {
        return None;
    }
    if of == u64::from(layout.wasm_frame) {
        return Some(FunctionKey::WASM);
    }
    (of == u64::from(layout.wasm_to_js_frame)).then_some(FunctionKey::WASM_TO_JS)
}

/// Whether `pc` is in V8's own code. Some builtins that WebAssembly calls have frames like its own.
#[inline(always)]
fn is_builtin(layout: &Layout, pc: u64) -> bool {
    let is_within = |[start, end]: [u64; 2]| pc >= start && pc < end;
    is_within(layout.builtins) || is_within(layout.builtins_copy)
}
