//! Takes the stack of a call, finds its entry in `STACKS`, and sends it to the agent when it is new.

use aya_ebpf::{
    EbpfContext, bindings::BPF_NOEXIST, bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_ringbuf_output,
};
use leaktrace_common::{
    counter::Counter,
    event::{RecordKind, STACK_HEADER, StackRecord},
    process::ProcessId,
    stack::{MAX_FRAMES, StackEntry, StackId},
    unfinished::UnfinishedRecord,
};

use crate::{
    count::count,
    maps::{EVENTS, STACKS},
    read,
    regs::{RETURN_SLOT, Regs},
    scratch,
    unwind::{self, Hashes, Start, unfinished},
    v8,
};

/// A stack that was taken.
pub struct Taken {
    /// Its entry is in `STACKS`; unknown where it could not be kept.
    pub stack: StackId,
    /// Whether JavaScript is on it.
    pub has_functions: bool,
}

/// The id of the caller's stack, whose entry is then in `STACKS`; unknown where it could not be kept.
#[inline(always)]
pub fn capture(regs: Regs<'_>, process: ProcessId, hook: u16, start: Start) -> StackId {
    take(regs, process, hook, start).stack
}

/// The caller's stack.
#[inline(always)]
pub fn take(regs: Regs<'_>, process: ProcessId, hook: u16, start: Start) -> Taken {
    let Some(scratch) = scratch::acquire() else {
        count(Counter::ScratchBusy);
        return Taken { stack: StackId::UNKNOWN, has_functions: false };
    };
    let (walk, record, rest) = (&mut scratch.walk, &mut scratch.record, &mut scratch.unfinished);
    walk.hashes = Hashes { id: 0, check: 0 };
    walk.hashes.mix(u64::from(process.0) << 16 | u64::from(hook));
    unwind::unwind(walk, record, regs, process, start);
    let mut has_functions = false;
    let stack = if walk.has_jit()
        && let Some(layout) = v8::layout(process)
    {
        has_functions = v8::with_functions(scratch, layout, process);
        intern((&mut scratch.javascript, &mut scratch.entry), &scratch.walk.hashes, process, hook, None)
    } else {
        // Before the id is read: what is left of the stack is a part of it.
        let has_rest = unfinished::take(walk, record, rest) != 0;
        intern((record, &mut scratch.entry), &walk.hashes, process, hook, has_rest.then_some(rest))
    };
    scratch::release(scratch);
    Taken { stack, has_functions }
}

/// Whether the callers of the function that is about to run do surely not include the one whose return address
/// stands at `slot`.
#[inline(always)]
pub fn has_left(regs: Regs<'_>, process: ProcessId, slot: u64) -> bool {
    let Some(scratch) = scratch::acquire() else { return false };
    let (walk, record) = (&mut scratch.walk, &mut scratch.record);
    walk.watched = slot + RETURN_SLOT;
    walk.is_met = 0;
    unwind::unwind(walk, record, regs, process, Start::Entry);
    let has_left = walk.has_missed(record);
    walk.watched = 0;
    scratch::release(scratch);
    has_left
}

#[inline(always)]
fn intern(
    (record, new): (&mut StackRecord, &mut StackEntry),
    hashes: &Hashes,
    process: ProcessId,
    hook: u16,
    rest: Option<&mut UnfinishedRecord>,
) -> StackId {
    record.kind = RecordKind::Stack as u32;
    record.process = process.0;
    record.id = hashes.id;
    record.hook = u32::from(hook);
    record.tgid = (read::thread() >> 32) as u32;
    let (id, check) = (StackId(hashes.id), hashes.check);
    let mut entry = STACKS.get_ptr_mut(&id);
    if entry.is_none() {
        // Its counters stay 0.
        (new.check, new.process, new.tid, new.comm) =
            (check, record.process, read::thread() as u32, read::comm());
        // Another CPU may be first with the same stack: then its entry serves.
        let _ = STACKS.insert(&id, &*new, u64::from(BPF_NOEXIST));
        entry = STACKS.get_ptr_mut(&id);
    }
    let Some(entry) = entry else {
        count(Counter::StacksFull);
        return StackId::UNKNOWN;
    };
    // SAFETY: the entry is in the map; `check` is written before it is published and never after.
    if unsafe { (*entry).check } != check {
        count(Counter::StackCollision);
        return StackId::UNKNOWN;
    }
    // SAFETY: `entry` is a live value of the map.
    share(unsafe { &mut *entry });
    // SAFETY: as above. Two CPUs may both see 0 and send the stack twice, which the agent does not mind.
    if unsafe { (*entry).sent } == 0 {
        if send(record) {
            // SAFETY: as above; both write the same value.
            unsafe { (*entry).sent = 1 };
            if let Some(rest) = rest {
                unfinished::send(record, rest);
            }
        } else {
            count(Counter::StackDelayed);
        }
    }
    id
}

/// Looks whether another thread than before has the stack. Names are compared only then; where several threads have one
/// name, each time that they take turns.
#[inline(always)]
fn share(entry: &mut StackEntry) {
    let tid = read::thread() as u32;
    if entry.tid == tid || entry.shared != 0 {
        return;
    }
    if entry.comm == read::comm() {
        entry.tid = tid;
    } else {
        entry.shared = 1;
    }
}

#[inline(always)]
fn send(record: &mut StackRecord) -> bool {
    let depth = (record.depth as usize).min(MAX_FRAMES);
    let length = STACK_HEADER + depth * 8;
    // SAFETY: `length` is at most the size of the record, whose bytes are all set or left from an earlier stack.
    unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (record as *mut StackRecord).cast(),
            length as u64,
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    }
}

/// The registers of a probe's context.
#[inline(always)]
pub fn regs<C: EbpfContext>(context: &C) -> Regs<'_> {
    // SAFETY: the context of a uprobe is the thread's registers, given to this program by the kernel.
    unsafe { Regs::new(context.as_ptr().cast()) }
}
