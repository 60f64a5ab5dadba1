//! A function's identity, which no collection changes, and where it was seen.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{BPF_ANY, BPF_RB_NO_WAKEUP};
use leaktrace_common::{
    counter::Counter,
    event::{FunctionRecord, RecordKind},
    process::ProcessId,
    v8::{FunctionKey, FunctionOf, Layout, Sighting},
};

use super::{
    cache::{self, Of},
    object::{instance_type, is_tagged},
    thread,
};
use crate::{
    count::count,
    maps::{EVENTS, V8_FUNCTIONS, V8_LAYOUTS},
    read,
};

/// The key of a function, a tagged pointer; `bytecode` is what the interpreter runs of it, or 0.
#[inline(always)]
pub fn key_of(layout: &Layout, process: ProcessId, function: u64, bytecode: u64) -> Option<FunctionKey> {
    let of = if bytecode == 0 { Of::Compiled } else { Of::Interpreted };
    let place = cache::place(process, layout.state.collections, function, of);
    if let Some(key) = place.get() {
        return Some(key);
    }
    let (key, shared) = identify(layout, process, function)?;
    place.put(key);
    tell(process, key, Sighting { function, shared, bytecode });
    Some(key)
}

#[inline(always)]
fn identify(layout: &Layout, process: ProcessId, function: u64) -> Option<(FunctionKey, u64)> {
    if !is_tagged(function) {
        return None;
    }
    let kind = u32::from(instance_type(layout, read::user_word(function - 1)?)?);
    if kind < layout.first_function_type || kind > layout.last_function_type {
        return None;
    }
    let shared = read::user_word(function - 1 + u64::from(layout.function_shared))?;
    if !is_tagged(shared) {
        return None;
    }
    let literal = read::user_u32(shared - 1 + u64::from(layout.shared_literal))?;
    let script = read::user_word(shared - 1 + u64::from(layout.shared_script))?;
    if is_tagged(script) {
        // A small integer if it is a script's; of `undefined`, which has no such field, a pointer or nothing.
        let id = read::user_word(script - 1 + u64::from(layout.script_id)).unwrap_or(1);
        if id & 0xffff_ffff == 0 && id != 0 {
            let script = (id >> 32) as u32;
            if !FunctionKey::is_distinct(script, literal) {
                count(Counter::FunctionAmbiguous);
            }
            return Some((FunctionKey::new(script, literal).in_isolate(isolate(process)), shared));
        }
    }
    Some((FunctionKey::new(0, (shared >> 3) as u32), shared))
}

/// Tells isolates of one process apart by the threads that they run on: 0 for the first one, and the others are numbered as
/// they show their first function.
#[inline(always)]
fn isolate(process: ProcessId) -> u16 {
    let Some(thread) = thread::current() else { return 0 };
    if thread.isolate == 0 {
        thread.isolate = 1 + if thread::is_first() { 0 } else { next_isolate(process) };
    }
    (thread.isolate - 1) as u16
}

#[inline(always)]
fn next_isolate(process: ProcessId) -> u32 {
    let Some(layout) = V8_LAYOUTS.get_ptr_mut(process.0) else { return 0 };
    // SAFETY: a word of a map's value, changed only atomically.
    let before =
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(&raw mut (*layout).state.isolates, 1) };
    const OTHERS: u32 = FunctionKey::ISOLATES - 1;
    if before >= OTHERS {
        count(Counter::FunctionAmbiguous);
    }
    1 + before % OTHERS
}

/// Sends a function that is new, or newly seen interpreted, and notes where it is.
#[inline(always)]
fn tell(process: ProcessId, key: FunctionKey, seen: Sighting) {
    let of = FunctionOf { process: u64::from(process.0), key };
    if let Some(known) = V8_FUNCTIONS.get_ptr_mut(&of) {
        // SAFETY: the map's value lives while the program runs. Threads of one process may write it at one time:
        // the agent checks what it reads there.
        unsafe {
            (*known).function = seen.function;
            (*known).shared = seen.shared;
            if seen.bytecode == 0 {
                return;
            }
            let was_known = (*known).bytecode != 0;
            (*known).bytecode = seen.bytecode;
            if was_known {
                return;
            }
        }
    }
    let record = FunctionRecord { kind: RecordKind::Function as u32, process: process.0, key, seen };
    if EVENTS.output::<FunctionRecord>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        // It stays unknown here, and the next look after a collection tries again.
        let _ = V8_FUNCTIONS.remove(&of);
        count(Counter::FunctionDelayed);
    } else if V8_FUNCTIONS.insert(&of, &seen, u64::from(BPF_ANY)).is_err() {
        count(Counter::FunctionDelayed);
    }
}
