//! Programs for the tests of the unwinder (`tests-unwind`), built only with the feature `truth`.
//!
//! The tested process calls a probed function with what its own unwinder found; the programs unwind at the same
//! place and send both. They start at the function's entry, at an instruction within it, and at its return.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_USER_STACK, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_stackid, bpf_probe_read_user, bpf_ringbuf_output},
    macros::{map, uprobe, uretprobe},
    maps::StackTrace,
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{
    counter::Counter,
    event::{RecordKind, StackRecord},
    stack::MAX_FRAMES,
};

use super::traced;
use crate::{count::count, maps::EVENTS, read, regs::Regs, scratch, stack, unwind, unwind::Start};

/// For `bpf_get_stackid`, to compare costs.
#[map]
static KERNEL_STACKS: StackTrace = StackTrace::with_max_entries(16_384, 0);

/// At the entry of `leaktrace_truth(const struct truth *)`.
#[uprobe]
pub fn truth_entry(context: ProbeContext) -> u32 {
    let regs = stack::regs(&context);
    compare(regs, regs.argument(0), Start::Entry);
    0
}

/// At an instruction behind its prologue, its argument still in place.
#[uprobe]
pub fn truth_site(context: ProbeContext) -> u32 {
    let regs = stack::regs(&context);
    compare(regs, regs.argument(0), Start::Site);
    0
}

/// At its return; it returns its argument.
#[uretprobe]
pub fn truth_return(context: RetProbeContext) -> u32 {
    let regs = stack::regs(&context);
    compare(regs, regs.returned(), Start::Return);
    0
}

/// Sends two records: our stack, then the truth. `id` is their sequence number, `hook` where we started.
#[inline(always)]
fn compare(regs: Regs<'_>, truth: u64, start: Start) {
    let Some(process) = traced() else { return };
    // Sequence number, address of the frames, number of frames.
    let mut words = [0u64; 3];
    if !read::user(truth, &mut words) {
        return;
    }
    let [sequence, frames, depth] = words;
    let Some(scratch) = scratch::acquire() else {
        count(Counter::ScratchBusy);
        return;
    };
    let record = &mut scratch.record;
    unwind::unwind(&mut scratch.walk, record, regs, process.id, start);
    record.kind = RecordKind::Stack as u32;
    record.process = process.id.0;
    record.id = sequence;
    record.hook = start as u32;
    record.tgid = (read::thread() >> 32) as u32;
    send(record);
    record.depth = (depth as usize).min(MAX_FRAMES) as u32;
    // SAFETY: the helper writes at most as many bytes as the array has.
    unsafe {
        let bytes = (record.depth & (2 * MAX_FRAMES as u32 - 1)) * 8;
        let bytes = if bytes > 8 * MAX_FRAMES as u32 { 8 * MAX_FRAMES as u32 } else { bytes };
        bpf_probe_read_user(record.frames.as_mut_ptr().cast(), bytes, frames as *const _);
    }
    // Says that this is the truth.
    record.stop = 0;
    record.tgid = depth as u32;
    send(record);
    scratch::release(scratch);
}

#[inline(always)]
fn send(record: &mut StackRecord) {
    // SAFETY: the record is as large as its type says, and all its bytes are set.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (record as *mut StackRecord).cast(),
            size_of::<StackRecord>() as u64,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if failed != 0 {
        count(Counter::RingFull);
    }
}

/// The bare hit.
#[uprobe]
pub fn cost_nothing(_: ProbeContext) -> u32 {
    count(Counter::Nested);
    0
}

/// What the product does to a stack that it has seen before.
#[uprobe]
pub fn cost_unwind(context: ProbeContext) -> u32 {
    if let Some(process) = traced() {
        stack::capture(stack::regs(&context), process.id, 0, Start::Entry);
    }
    0
}

/// What other tracers do.
#[uprobe]
pub fn cost_stackid(context: ProbeContext) -> u32 {
    // SAFETY: the context is the kernel's, and the map is one of stacks.
    unsafe {
        bpf_get_stackid(
            context.as_ptr(),
            (&raw const KERNEL_STACKS).cast_mut().cast(),
            u64::from(BPF_F_USER_STACK),
        )
    };
    0
}

/// A return probe that is pending while others unwind.
#[uretprobe]
pub fn pending(_: RetProbeContext) -> u32 {
    count(Counter::Nested);
    0
}
