//! malloc, free and their family.

use aya_ebpf::{
    EbpfContext,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{
    counter::Counter,
    hook::{Cookie, Shape},
    live::{BlockKey, PAUSED},
    process::{ProcessEntry, ProcessId},
};

use super::{region, traced};
use crate::{
    calls::{self, Call},
    config,
    count::count,
    live, read,
    regs::{RETURN_SLOT, Regs},
    stack,
    unwind::Start,
};

/// Entry of everything whose outcome is known at its return.
#[uprobe]
pub fn call_enter(context: ProbeContext) -> u32 {
    if let Some(process) = watched() {
        enter(process, read::cookie(context.as_ptr()), stack::regs(&context));
    }
    0
}

/// Return of the same, by the kernel's return probe: the return address is popped by then.
#[uretprobe]
pub fn call_return(context: RetProbeContext) -> u32 {
    if let Some(process) = watched() {
        let regs = stack::regs(&context);
        let entry = regs.stack_pointer() - RETURN_SLOT;
        leave(process, read::cookie(context.as_ptr()), regs, entry, Start::Return);
    }
    0
}

/// Return of a function that may throw, by a probe on its `ret`: the C++ unwinder cannot pass the kernel's
/// return probe, and the process would be terminated.
#[uprobe]
pub fn call_at_ret(context: ProbeContext) -> u32 {
    if let Some(process) = watched() {
        let regs = stack::regs(&context);
        leave(process, read::cookie(context.as_ptr()), regs, regs.stack_pointer(), Start::Entry);
    }
    0
}

/// Entry of free: all is known.
#[uprobe]
pub fn free_enter(context: ProbeContext) -> u32 {
    if let Some(process) = watched() {
        let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
        free(process.id, stack::regs(&context).argument(cookie.pointer_arg));
    }
    0
}

/// The current process, if it is traced and native memory is watched just now.
#[inline(always)]
fn watched() -> Option<ProcessEntry> {
    if live::watched_since() == PAUSED { None } else { traced() }
}

#[inline(always)]
fn free(process: ProcessId, address: u64) {
    if address == 0 {
        return;
    }
    match live::take(&BlockKey::new(process, address)) {
        Some(block) => live::freed(&block),
        None if calls::is_moving(process, address) => {}
        None => count(Counter::FreeUnknown),
    }
}

#[inline(always)]
fn enter(process: ProcessEntry, bits: u64, regs: Regs<'_>) {
    let cookie = Cookie::unpack(bits);
    let entry = regs.stack_pointer() + u64::from(cookie.pushed_words) * 8;
    let Some(call) = calls::enter(process.id, bits, entry, regs) else { return };
    let shape = cookie.shape;
    call.size = regs.argument(cookie.size_arg);
    call.pointer = regs.argument(cookie.pointer_arg);
    if shape == Shape::AllocArray as u8 || shape == Shape::ReallocArray as u8 {
        call.size = product(call.size, regs.argument(cookie.count_arg));
    } else if shape >= Shape::Map as u8 {
        region::enter(call, shape, regs);
    }
    if (shape == Shape::Realloc as u8 || shape == Shape::ReallocArray as u8) && call.pointer != 0 {
        match live::take(&BlockKey::new(process.id, call.pointer)) {
            Some(old) => {
                call.old = old;
                call.has_old = 1;
            }
            None => count(Counter::FreeUnknown),
        }
    }
}

/// Bytes of an array; the largest number where the product does not fit, which every allocator refuses.
///
/// By halves: of a check by division or a wider product the compiler makes a call that BPF does not have.
#[inline(always)]
fn product(size: u64, count: u64) -> u64 {
    let (large, small) = if size > count { (size, count) } else { (count, size) };
    let upper = (large >> 32).wrapping_mul(small);
    if small >> 32 != 0 || upper >> 32 != 0 {
        return u64::MAX;
    }
    let upper = upper << 32;
    let sum = upper.wrapping_add((large & 0xffff_ffff).wrapping_mul(small));
    if sum < upper { u64::MAX } else { sum }
}

#[inline(always)]
fn leave(process: ProcessEntry, bits: u64, regs: Regs<'_>, entry: u64, start: Start) {
    let Some(call) = calls::leave(process.id, bits, entry) else { return };
    let cookie = Cookie::unpack(bits);
    let shape = cookie.shape;
    if shape >= Shape::Map as u8 {
        region::leave(process.id, call, cookie, regs);
        return;
    }
    let Some(address) = outcome(call, shape, regs.returned()) else { return };
    if call.size < config::min_size() || call.size > config::max_size() {
        count(Counter::SizeFiltered);
        return;
    }
    let stack = stack::capture(regs, process.id, cookie.hook, start);
    live::insert(process.id, address, call.size, stack);
}

/// The block that the call handed out, if it did; settles what becomes of realloc's old block.
#[inline(always)]
fn outcome(call: &mut Call, shape: u8, returned: u64) -> Option<u64> {
    if shape == Shape::AllocOut as u8 {
        if returned as u32 != 0 {
            count(Counter::AllocFailed);
            return None;
        }
        let mut address = [0u64];
        if !read::user(call.pointer, &mut address) {
            count(Counter::ResultUnreadable);
            return None;
        }
        return Some(address[0]);
    }
    let failed = returned == 0;
    let is_realloc = shape == Shape::Realloc as u8 || shape == Shape::ReallocArray as u8;
    // glibc's realloc(p, 0) frees and returns null: no failure.
    let freed = is_realloc && failed && call.size == 0 && call.pointer != 0;
    if call.has_old == 1 {
        call.has_old = 0;
        if failed && !freed {
            live::put_back(&BlockKey::new(call.process, call.pointer), &call.old);
        } else {
            live::freed(&call.old);
        }
    }
    if failed {
        if !freed {
            count(Counter::AllocFailed);
        }
        return None;
    }
    Some(returned)
}
