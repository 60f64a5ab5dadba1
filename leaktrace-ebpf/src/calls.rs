//! The allocator call that each thread is in, from its entry probe to its return probe.
//!
//! A call is told by its stack pointer: what is called inside it has a lower one (or the same, after a tail
//! call) and is not counted again. A call that never returns (longjmp, a thread that ends) is found at the next
//! entry: its stack pointer is not below the call's own, or the call's return address is no longer where it was,
//! or the callers do not lead past it.

use aya_ebpf::bindings::BPF_NOEXIST;
use leaktrace_common::{
    counter::Counter,
    hook::Cookie,
    live::{Block, BlockKey},
    process::ProcessId,
};

use crate::{count::count, live, maps::CALLS, read, regs::Regs, stack};

/// A thread's call. All zero: none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// The probe's cookie; 0 when the thread is in no call.
    pub cookie: u64,
    /// Stack pointer at the function's entry, where the return address stands.
    pub stack_pointer: u64,
    /// The return address, where no return probe replaces it ([`Cookie::at_ret`]).
    pub return_address: u64,
    /// Bytes asked for (`count * size` multiplied out).
    pub size: u64,
    /// Argument `pointer`: the block of realloc, where posix_memalign puts its result, the address for munmap.
    pub pointer: u64,
    /// Arguments as they came, for the mapping calls.
    pub flags: u64,
    pub protection: u64,
    /// When the call began; for calls other than those of mappings since when native memory was watched then.
    pub entered: u64,
    pub process: ProcessId,
    /// 1 after an inner call returned from the same stack slot (it was reached by a tail call): the outer one
    /// returns next, and if another call begins instead, this one is stale.
    pub inner_returned: u32,
    /// 1 if `old` was taken out of the table at the entry of realloc.
    pub has_old: u32,
    pub padding: u32,
    pub old: Block,
}

const NONE: Call = Call {
    cookie: 0,
    stack_pointer: 0,
    return_address: 0,
    size: 0,
    pointer: 0,
    flags: 0,
    protection: 0,
    entered: 0,
    process: ProcessId(0),
    inner_returned: 0,
    has_old: 0,
    padding: 0,
    old: Block { size: 0, stack: 0, born: 0 },
};

/// The slot of this thread if a call that enters with `cookie` at `stack_pointer` is an outermost one.
#[inline(always)]
pub fn enter(
    process: ProcessId,
    cookie: u64,
    stack_pointer: u64,
    regs: Regs<'_>,
) -> Option<&'static mut Call> {
    let call = slot()?;
    if call.cookie != 0 && call.process == process {
        let tail_called =
            call.stack_pointer == stack_pointer && call.cookie != cookie && call.inner_returned == 0;
        if tail_called || (call.stack_pointer > stack_pointer && is_pending(call, regs)) {
            count(Counter::Nested);
            return None;
        }
        give_up(call);
    }
    if Cookie::unpack(cookie).at_ret == 1 {
        let mut word = [0];
        // Unreadable: the call will be taken for one that never returned.
        read::user(stack_pointer, &mut word);
        call.return_address = word[0];
    }
    call.cookie = cookie;
    call.stack_pointer = stack_pointer;
    call.process = process;
    call.entered = live::watched_since();
    call.inner_returned = 0;
    call.has_old = 0;
    Some(call)
}

/// The call that returns with this cookie from this stack slot, ended; none for an inner call.
#[inline(always)]
pub fn leave(process: ProcessId, cookie: u64, stack_pointer: u64) -> Option<&'static mut Call> {
    let call = CALLS.get_ptr_mut(read::thread())?;
    // SAFETY: only the thread itself, which is here, touches its slot.
    let call = unsafe { &mut *call };
    if call.cookie == 0 || call.stack_pointer != stack_pointer || call.process != process {
        return None;
    }
    if Cookie::unpack(call.cookie).hook != Cookie::unpack(cookie).hook {
        call.inner_returned = 1;
        return None;
    }
    call.cookie = 0;
    Some(call)
}

/// Whether this thread is inside a call that took the block at `address` out of the table (realloc, which
/// some allocators build from malloc and free).
#[inline(always)]
pub fn is_moving(process: ProcessId, address: u64) -> bool {
    let Some(call) = CALLS.get_ptr(read::thread()) else { return false };
    // SAFETY: only the thread itself, which is here, touches its slot.
    let call = unsafe { &*call };
    call.cookie != 0 && call.process == process && call.has_old == 1 && call.pointer == address
}

/// Whether the call is still under way. After a longjmp other frames have taken its place, and the return address
/// no longer stands where it was.
///
/// A return probe puts the kernel's trampoline there, which is the first instruction of a page of its own
/// (<https://github.com/torvalds/linux/blob/v6.12/kernel/events/uprobes.c>, `uprobe_get_trampoline_vaddr`).
#[inline(always)]
fn is_pending(call: &Call, regs: Regs<'_>) -> bool {
    const PAGE_BITS: u64 = 0xfff;
    let mut word = [0];
    if !read::user(call.stack_pointer, &mut word) {
        return false;
    }
    let [word] = word;
    let stands = if Cookie::unpack(call.cookie).at_ret == 1 {
        word == call.return_address
    } else {
        word != 0 && word & PAGE_BITS == 0
    };
    // A frame with room that it has not written yet may lie over an old return address.
    stands && !stack::has_left(regs, call.process, call.stack_pointer)
}

/// Forgets the thread, which ends.
#[inline(always)]
pub fn forget_thread() {
    let thread = read::thread();
    let Some(call) = CALLS.get_ptr_mut(thread) else { return };
    // SAFETY: only the thread itself, which is here, touches its slot.
    let call = unsafe { &mut *call };
    if call.cookie != 0 {
        give_up(call);
    }
    let _ = CALLS.remove(thread);
}

/// A call that will not return. Its realloc did not succeed, as far as anyone can tell: the block stays.
#[inline(always)]
fn give_up(call: &mut Call) {
    call.cookie = 0;
    // Its return may have come while nobody watched.
    if call.entered >= live::watched_since() {
        count(Counter::CallAbandoned);
    }
    if call.has_old == 1 {
        call.has_old = 0;
        live::put_back(&BlockKey::new(call.process, call.pointer), &call.old);
    }
}

#[inline(always)]
fn slot() -> Option<&'static mut Call> {
    let thread = read::thread();
    let mut slot = CALLS.get_ptr_mut(thread);
    if slot.is_none() {
        let _ = CALLS.insert(thread, NONE, u64::from(BPF_NOEXIST));
        slot = CALLS.get_ptr_mut(thread);
    }
    let Some(slot) = slot else {
        count(Counter::CallsFull);
        return None;
    };
    // SAFETY: only the thread itself, which is here, touches its slot.
    Some(unsafe { &mut *slot })
}
