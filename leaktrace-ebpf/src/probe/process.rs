//! exec, fork and thread exit, from the scheduler's raw tracepoints: they run in the process itself, before
//! its next allocation, so the books change at the right moment.
//!
//! Arguments: <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sched.h>

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_RB_NO_WAKEUP},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use leaktrace_common::{
    counter::Counter,
    event::{ProcessRecord, RecordKind},
    process::{FOLLOW, ProcessEntry, ProcessId},
};

use super::traced;
use crate::{
    calls, config,
    count::count,
    maps::{EVENTS, NEXT_PROCESS, PROCESSES},
    read, unwind, v8,
};

/// The old address space is gone and everything in it: what comes is another process to us.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(_: RawTracePointContext) -> i32 {
    let Some(before) = traced() else { return 0 };
    let tgid = (read::thread() >> 32) as u32;
    let Some(id) = next_process() else { return 0 };
    calls::forget_thread();
    v8::forget_thread();
    let _ = PROCESSES.insert(tgid, ProcessEntry { id, flags: before.flags }, u64::from(BPF_ANY));
    send(ProcessRecord {
        kind: RecordKind::Exec as u32,
        tgid,
        process: id.0,
        before: before.id.0,
        ..ProcessRecord::default()
    });
    0
}

/// A child starts with books of its own; it is traced if its parent is to be followed.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(context: RawTracePointContext) -> i32 {
    let Some(parent) = traced() else { return 0 };
    let child: u64 = context.arg(1);
    let (Some(pid), Some(tgid)) = (
        read::kernel_u32(child + config::task_pid_offset()),
        read::kernel_u32(child + config::task_tgid_offset()),
    ) else {
        return 0;
    };
    // A thread of the same process.
    if pid != tgid {
        return 0;
    }
    let mut process = 0;
    if parent.flags & FOLLOW != 0 {
        let Some(id) = next_process() else { return 0 };
        let entry = ProcessEntry { id, flags: parent.flags };
        if PROCESSES.insert(tgid, entry, u64::from(BPF_ANY)).is_ok() {
            process = id.0;
            unwind::inherit(parent.id, id);
            v8::inherit(parent.id, id);
        }
    }
    send(ProcessRecord {
        kind: RecordKind::Fork as u32,
        tgid,
        process,
        before: parent.id.0,
        parent_tgid: (read::thread() >> 32) as u32,
        ..ProcessRecord::default()
    });
    0
}

/// A thread ends: its call slot goes with it. The main thread's end is told to the agent.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(_: RawTracePointContext) -> i32 {
    let Some(process) = traced() else { return 0 };
    calls::forget_thread();
    v8::forget_thread();
    let thread = read::thread();
    let (tgid, tid) = ((thread >> 32) as u32, thread as u32);
    if tgid == tid {
        send(ProcessRecord {
            kind: RecordKind::Exit as u32,
            tgid,
            process: process.id.0,
            ..ProcessRecord::default()
        });
    }
    0
}

fn next_process() -> Option<ProcessId> {
    let next = NEXT_PROCESS.get_ptr_mut(0)?;
    // SAFETY: an aligned word of a map's value, changed only atomically.
    let id = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(next, 1) };
    Some(ProcessId(id as u32))
}

#[inline(always)]
fn send(mut record: ProcessRecord) {
    record.at = read::now();
    if EVENTS.output::<ProcessRecord>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        count(Counter::RingFull);
    }
}
