//! mmap, munmap and mremap: rare, so each is sent to the agent, which keeps the ranges.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use leaktrace_common::{
    counter::Counter,
    event::{RecordKind, RegionRecord},
    hook::{Cookie, Shape},
    process::ProcessId,
};

use crate::{calls::Call, count::count, maps::EVENTS, read, regs::Regs, stack, unwind::Start};

/// Remembers the arguments: mmap(addr, length, prot, flags, ..), munmap(addr, length),
/// mremap(old, old_length, new_length, flags, ..).
#[inline(always)]
pub fn enter(call: &mut Call, shape: u8, regs: Regs<'_>) {
    call.pointer = regs.argument(0);
    call.size = regs.argument(1);
    // mremap's new length shares the field of mmap's protection.
    call.protection = regs.argument(2);
    call.flags = if shape == Shape::Unmap as u8 { 0 } else { regs.argument(3) };
    call.entered = read::now();
}

#[inline(always)]
pub fn leave(process: ProcessId, call: &Call, cookie: Cookie, regs: Regs<'_>) {
    let returned = regs.returned();
    // The C functions return -1 (MAP_FAILED) on failure.
    if returned == u64::MAX || returned as u32 == u32::MAX {
        count(Counter::AllocFailed);
        return;
    }
    let is_remap = cookie.shape == Shape::Remap as u8;
    let is_unmap = cookie.shape == Shape::Unmap as u8;
    let stack = if is_unmap { 0 } else { stack::capture(regs, process, cookie.hook, Start::Return).0 };
    let record = RegionRecord {
        kind: RecordKind::Region as u32,
        process: process.0,
        shape: u32::from(cookie.shape),
        flags: call.flags as u32,
        protection: if is_remap { 0 } else { call.protection as u32 },
        tid: read::thread() as u32,
        address: if is_unmap { call.pointer } else { returned },
        length: if is_remap { call.protection } else { call.size },
        old_address: if is_remap { call.pointer } else { 0 },
        old_length: if is_remap { call.size } else { 0 },
        stack,
        entered: call.entered,
        returned: read::now(),
    };
    if EVENTS.output::<RegionRecord>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        count(Counter::RingFull);
    }
}
