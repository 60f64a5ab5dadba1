//! Samples of what JavaScript allocates.

use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::helpers::generated::bpf_loop;
use leaktrace_common::{
    counter::Counter,
    process::ProcessId,
    stack::StackId,
    v8::{Layout, SAMPLES, Sample, SampleState, Window, can},
};

use super::{
    area::{self, AREAS, Awaited},
    collection::MARK_COMPACTOR,
    heap,
    object::is_tagged,
    thread::{self, Thread},
};
use crate::{
    count::{add_u32, count, count_by},
    live,
    maps::{V8_FREE, V8_USED},
    read,
    regs::Regs,
    stack::{self, Taken},
    unwind::Start,
};

/// An area is used up, and its allocator is about to make an object of `size` bytes in the next one.
#[inline(always)]
pub fn refill(layout: &mut Layout, process: ProcessId, regs: Regs<'_>, hook: u16, size: u64) {
    let Some((thread, window)) = begin_refill(layout) else { return };
    let allocator = regs.argument(0);
    let weight = area::refill(layout, thread, allocator, window);
    if thread.found.size != 0 {
        let found = thread.found;
        place(layout, thread, process, &found);
    }
    if weight == 0 {
        return;
    }
    let taken = stack::take(regs, process, hook, Start::Entry);
    if is_of_heap(thread, &taken, weight)
        && let Some(area) = thread.areas.find(allocator)
    {
        area.wait_for(taken.stack, weight, u64::from(size as u32));
    }
}

/// The same where the refill's return is seen if it is asked for: whether it is, because its object is to be a sample.
#[inline(always)]
pub fn refill_and_wait(layout: &mut Layout, regs: Regs<'_>, size: u64) -> bool {
    let Some((thread, window)) = begin_refill(layout) else { return false };
    thread.weight = area::refill(layout, thread, regs.argument(0), window);
    thread.size = size as u32 as u64;
    thread.weight != 0
}

/// The thread, if what it allocates is sampled now.
#[inline(always)]
fn begin_refill(layout: &mut Layout) -> Option<(&'static mut Thread, Window)> {
    let window = look(layout)?;
    let thread = thread::current()?;
    thread.shift = window.shift;
    // The collector allocates too, to move what lives.
    let is_left_out = thread.is_collecting == 1 || thread.is_helper() || layout.can & can::SAMPLES == 0;
    (!is_left_out).then_some((thread, window))
}

/// Counts a refill, and says in which window it is, if in any.
#[inline(always)]
fn look(layout: &mut Layout) -> Option<Window> {
    add_u32(&raw mut layout.state.refills, 1);
    super::window()
}

/// Before a collection or the end of the heap: no area outlives it.
#[inline(always)]
pub fn close_areas(layout: &mut Layout, thread: &mut Thread, process: ProcessId) {
    let layout = core::ptr::from_mut(layout).cast();
    let thread = core::ptr::from_mut(thread).cast();
    let mut context = Close { layout, thread, process };
    // SAFETY: `close` is given this context and nothing else, and it outlives the call.
    unsafe { bpf_loop(AREAS as u32, close as *const () as *mut c_void, (&raw mut context).cast(), 0) };
}

/// Pointers to a `Layout` and a `Thread`, see `heap::Look`.
#[repr(C)]
struct Close {
    layout: *mut c_void,
    thread: *mut c_void,
    process: ProcessId,
}

unsafe extern "C" fn close(index: u32, context: *mut Close) -> i64 {
    // SAFETY: `bpf_loop` passes on the context that was made above, whose references are live.
    let (layout, thread, process) = unsafe {
        (&*(*context).layout.cast::<Layout>(), &mut *(*context).thread.cast::<Thread>(), (*context).process)
    };
    let Some((allocator, area)) = thread.areas.at(index) else { return 1 };
    let is_minor = thread.collector != MARK_COMPACTOR;
    area::give_up(layout, allocator, area, &mut thread.found, super::window(), is_minor);
    if thread.found.size != 0 {
        let found = thread.found;
        place(layout, thread, process, &found);
    }
    0
}

/// The entry of a function that allocates a large object: remembers its size.
#[inline(always)]
pub fn allocate_enter(layout: &Layout, size: u64) {
    let Some(thread) = thread::current() else { return };
    if thread.is_collecting == 0 && layout.can & can::SAMPLES != 0 {
        thread.size = size as u32 as u64;
        thread.weight = thread.size;
        thread.shift = 0;
    }
}

/// Its return, or that of a refill: the object is there, not yet filled in.
#[inline(always)]
pub fn allocate_return(layout: &mut Layout, process: ProcessId, regs: Regs<'_>, hook: u16) {
    let Some(thread) = thread::current() else { return };
    let (size, weight) = (thread.size, thread.weight);
    thread.size = 0;
    let object = regs.returned();
    // A failure is a small integer; the collection that follows comes to here again.
    if thread.is_collecting == 1 || size == 0 || !is_tagged(object) {
        return;
    }
    take(layout, thread, process, object - 1, size, weight, regs, hook, Start::Return);
}

/// V8 before 12 says of each area's first object where it will be.
#[inline(always)]
pub fn allocate_observed(layout: &mut Layout, process: ProcessId, regs: Regs<'_>, hook: u16) {
    let Some(window) = look(layout) else { return };
    let Some(thread) = thread::current() else { return };
    if thread.is_collecting == 1 || layout.can & can::SAMPLES == 0 {
        return;
    }
    thread.shift = window.shift;
    let (allocator, address, size) = (regs.argument(0), regs.argument(1), regs.argument(2));
    // The old area is gone by now, and what it was used for is what lay between its last object and its limit.
    area::close_at_limit(thread, allocator);
    let address = address & !1;
    let weight = area::open(layout, thread, allocator, address, window);
    if weight == 0 {
        return;
    }
    take(layout, thread, process, address, u64::from(size as u32), weight, regs, hook, Start::Entry);
}

#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "inlined into two places; a structure would be built on a small stack"
)]
fn take(
    layout: &Layout,
    thread: &mut Thread,
    process: ProcessId,
    address: u64,
    size: u64,
    weight: u64,
    regs: Regs<'_>,
    hook: u16,
    start: Start,
) {
    let taken = stack::take(regs, process, hook, start);
    if is_of_heap(thread, &taken, weight) {
        let sample = Awaited { stack: taken.stack, weight, born: read::now(), size, address };
        place(layout, thread, process, &sample);
    }
}

/// Whether a stack is one of a JavaScript heap: before its first collection a thread that runs JavaScript is told from V8's
/// helpers by what it runs.
#[inline(always)]
fn is_of_heap(thread: &Thread, taken: &Taken, weight: u64) -> bool {
    if thread.heap == 0 && !taken.has_functions && !thread::is_first() {
        count_by(Counter::BytesOfNoHeap, weight);
        return false;
    }
    true
}

/// The sample's object is there.
#[inline(always)]
fn place(layout: &Layout, thread: &mut Thread, process: ProcessId, sample: &Awaited) {
    let Awaited { stack, weight, born, size, address } = *sample;
    // Whether it lives would never be known.
    if layout.can & can::FOLLOW != can::FOLLOW {
        live::allocated(stack, weight);
        return;
    }
    let Some(number) = free_number() else {
        count(Counter::SamplesFull);
        return;
    };
    let Some(sample) = heap::sample(number) else { return };
    *sample = Sample {
        address,
        stack: stack.0,
        weight,
        born,
        size: size as u32,
        process: process.0,
        shift: thread.shift as u16,
        ..Sample::default()
    };
    live::allocated(stack, weight);
    if thread.heap == 0 {
        sample.state = SampleState::Fresh as u32;
        sample.next = thread.pending;
        thread.pending = number;
        return;
    }
    match heap::get(layout, process, thread.heap) {
        Some(heap) => {
            sample.heap = heap.id;
            sample.born_major = heap.majors;
            heap.put(number, sample, SampleState::Fresh);
        }
        None => died(number, sample),
    }
}

/// The sample is dead: its stack's books say so, and its number is free. Age counts in whole collections.
#[inline(always)]
pub fn died(number: u32, sample: &mut Sample) {
    live::died(StackId(sample.stack), sample.weight, u64::from(sample.major_survived));
    sample.state = SampleState::Free as u32;
    // There is room for every number.
    let _ = V8_FREE.push(&number, 0);
}

/// A number that no sample has.
#[inline(always)]
fn free_number() -> Option<u32> {
    if let Ok(Some(number)) = V8_FREE.pop() {
        return Some(number);
    }
    let used = V8_USED.get_ptr_mut(0)?;
    // SAFETY: a word of a map's value, changed only atomically.
    let number = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(used, 1) } + 1;
    if number < u64::from(SAMPLES) {
        return Some(number as u32);
    }
    // Else the count would run on for ever.
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(used, u64::MAX) };
    None
}
