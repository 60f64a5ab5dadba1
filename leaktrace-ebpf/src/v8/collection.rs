//! A collection, from its beginning to its end, and which samples outlive it.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use leaktrace_common::{
    counter::Counter,
    event::{CollectionRecord, HeapRecord, RecordKind},
    process::ProcessId,
    v8::{Check, Heap, Layout, Sample, SampleState, can},
};

use super::{
    check,
    heap::{self, Look, Visit},
    object,
    sample::{close_areas, died},
    thread::{self, Thread},
};
use crate::{
    count::{add, add_u32, count},
    maps::EVENTS,
    read,
    regs::Regs,
};

/// `v8::internal::GarbageCollector`: <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/common/globals.h>
const SCAVENGER: u32 = 0;
pub const MARK_COMPACTOR: u32 = 1;

/// `Heap::PerformGarbageCollection(heap, collector, reason, ..)` begins.
#[inline(always)]
pub fn begin(layout: &mut Layout, process: ProcessId, regs: Regs<'_>) {
    let Some(thread) = thread::current() else { return };
    thread.heap = regs.argument(0);
    thread.collector = regs.argument(1) as u8 as u32;
    thread.reason = regs.argument(2) as u8 as u32;
    thread.sizes = 0;
    thread.before = 0;
    thread.after = 0;
    thread.looked_at = 0;
    thread.died = 0;
    thread.looking = 0;
    thread.size = 0;
    let Some(heap) = heap::get(layout, process, thread.heap) else { return };
    thread.heap_id = heap.id;
    close_areas(layout, thread, process);
    let lists = [heap.fresh, thread.pending];
    heap.fresh = 0;
    thread.pending = 0;
    look(thread, heap, layout, process, lists, see_fresh);
    thread.is_collecting = 1;
    thread.began = read::now();
    add(&raw mut layout.state.collections, 1);
}

/// It ends.
#[inline(always)]
pub fn end(layout: &mut Layout, process: ProcessId) {
    let Some(thread) = thread::collecting() else { return };
    thread.is_collecting = 0;
    add(&raw mut layout.state.collections, 1);
    let record = CollectionRecord {
        kind: RecordKind::Collection as u32,
        process: process.0,
        heap: thread.heap_id,
        began: thread.began,
        ended: read::now(),
        before: thread.before,
        after: thread.after,
        tid: read::thread() as u32,
        collector: thread.collector,
        reason: thread.reason,
        looked_at: thread.looked_at,
        died: thread.died,
        looking: thread.looking as u32,
    };
    if EVENTS.output::<CollectionRecord>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        count(Counter::CollectionLost);
    }
}

/// `Heap::TearDown(heap)` begins: with the heap go its objects. What the first thread's holds at the process's end is what
/// the report is about.
#[inline(always)]
pub fn tear_down(layout: &mut Layout, process: ProcessId, regs: Regs<'_>) {
    if thread::is_first() {
        return;
    }
    let Some(thread) = thread::current() else { return };
    let address = regs.argument(0);
    close_areas(layout, thread, process);
    let Some(heap) = heap::get(layout, process, address) else { return };
    look(thread, heap, layout, process, [heap.fresh, thread.pending], see_gone);
    look(thread, heap, layout, process, [heap.young, heap.old], see_gone);
    let record = HeapRecord { kind: RecordKind::HeapEnded as u32, process: process.0, heap: heap.id };
    heap::remove(process, address);
    // The thread may run another isolate after this one.
    thread::forget();
    add_u32(&raw mut layout.state.heaps_ended, 1);
    add(&raw mut layout.state.collections, 1);
    if EVENTS.output::<HeapRecord>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        count(Counter::CollectionLost);
    }
}

/// `Heap::SizeOfObjects()` returned: the first time in a collection it is the size before, the last time the one after.
#[inline(always)]
pub fn size_of_objects(bytes: u64) {
    let Some(thread) = thread::collecting() else { return };
    if thread.sizes == 0 {
        thread.before = bytes;
    } else {
        thread.after = bytes;
    }
    thread.sizes += 1;
}

/// In a scavenge: what lives has moved.
#[inline(always)]
pub fn young_moved(layout: &mut Layout, process: ProcessId) {
    let Some(thread) = thread::collecting() else { return };
    if thread.collector != SCAVENGER || layout.can & can::YOUNG == 0 {
        return;
    }
    let Some(heap) = heap::get(layout, process, thread.heap) else { return };
    if check::is_wanted(layout, Check::Pages) {
        check_old(layout, heap);
    }
    let young = heap.young;
    heap.young = 0;
    look(thread, heap, layout, process, [young, 0], see_young);
}

/// The first of them were taken last.
#[inline(always)]
fn check_old(layout: &mut Layout, heap: &Heap) {
    /// So few that a scavenge is not longer by them.
    const LOOKED_AT: u32 = 16;
    let mut number = heap.old;
    for _ in 0..LOOKED_AT {
        if number == 0 {
            return;
        }
        let Some(sample) = heap::sample(number) else { return };
        check::old_object(layout, sample.address);
        number = sample.next;
    }
}

/// In a whole collection: what lives is marked.
#[inline(always)]
pub fn marked(layout: &mut Layout, process: ProcessId, regs: Regs<'_>) {
    let Some(thread) = thread::collecting() else { return };
    if thread.collector != MARK_COMPACTOR {
        return;
    }
    let Some(heap) = heap::get(layout, process, thread.heap) else { return };
    heap.majors += 1;
    check::marks(layout, regs);
    if layout.can & can::OLD == 0 {
        return;
    }
    let lists = take_all(heap);
    look(thread, heap, layout, process, lists, see_marked);
}

/// In a whole collection: what was moved has left its new address.
#[inline(always)]
pub fn evacuated(layout: &mut Layout, process: ProcessId) {
    let Some(thread) = thread::collecting() else { return };
    if thread.collector != MARK_COMPACTOR || layout.can & can::OLD == 0 {
        return;
    }
    let Some(heap) = heap::get(layout, process, thread.heap) else { return };
    let lists = take_all(heap);
    look(thread, heap, layout, process, lists, see_evacuated);
}

#[inline(always)]
fn take_all(heap: &mut Heap) -> [u32; 2] {
    let lists = [heap.young, heap.old];
    heap.young = 0;
    heap.old = 0;
    lists
}

/// Visits the samples of two lists, which are no longer the heap's: each visit puts its sample where it belongs.
#[inline(always)]
fn look(
    thread: &mut Thread,
    heap: &mut Heap,
    layout: &mut Layout,
    process: ProcessId,
    lists: [u32; 2],
    visit: Visit,
) {
    let began = read::now();
    let layout = core::ptr::from_mut(layout).cast();
    let mut look = Look { heap, layout, next: 0, looked_at: 0, died: 0, process: process.0 };
    for first in lists {
        if first != 0 {
            heap::each(&mut look, first, visit);
        }
    }
    thread.looked_at += look.looked_at;
    thread.died += look.died;
    thread.looking += read::now() - began;
}

/// A sample that no collection has seen: by now its object is filled in.
unsafe extern "C" fn see_fresh(_: u32, look: *mut Look) -> i64 {
    // SAFETY: the context of `heap::each`, whose references are live and not used meanwhile.
    let look = unsafe { &mut *look };
    let Some((number, sample)) = heap::next(look) else { return 1 };
    // SAFETY: as above.
    let (heap, layout) = unsafe { (&mut *look.heap, &mut *look.layout.cast::<Layout>()) };
    // It may be from before the thread's heap was known.
    sample.heap = heap.id;
    check::object(layout, sample.address);
    let (address, size) = object::pick(layout, sample.address, sample.size);
    sample.address = address;
    sample.size = size;
    if layout.can & can::TYPES != 0
        && let Some(map) = read::user_word(address)
        && let Some(kind) = object::instance_type(layout, map)
    {
        sample.instance_type = kind;
        if u32::from(kind) >= layout.first_object_type {
            sample.constructor = object::constructor(layout, ProcessId(look.process), map);
        }
    }
    let is_young = object::is_young(layout, address).unwrap_or(false);
    heap.put(number, sample, if is_young { SampleState::Young } else { SampleState::Old });
    0
}

/// A young sample after a scavenge: the word at its place is its new address, or still its map.
unsafe extern "C" fn see_young(_: u32, look: *mut Look) -> i64 {
    // SAFETY: as in `see_fresh`.
    let look = unsafe { &mut *look };
    let Some((number, sample)) = heap::next(look) else { return 1 };
    // SAFETY: as above.
    let (heap, layout) = unsafe { (&mut *look.heap, &*look.layout.cast::<Layout>()) };
    let Some(word) = read::user_word(sample.address) else {
        count(Counter::SampleUnreadable);
        look.died += 1;
        died(number, sample);
        return 0;
    };
    let has_moved = word & 1 == 0 && word != 0;
    if has_moved {
        sample.address = word;
    }
    let is_young = object::is_young(layout, sample.address).unwrap_or(false);
    // A page can be made old as a whole, its objects where they were.
    if !has_moved && is_young {
        look.died += 1;
        died(number, sample);
        return 0;
    }
    sample.minor_survived = sample.minor_survived.saturating_add(1);
    heap.put(number, sample, if is_young { SampleState::Young } else { SampleState::Old });
    0
}

/// Any sample when marking is done.
unsafe extern "C" fn see_marked(_: u32, look: *mut Look) -> i64 {
    // SAFETY: as in `see_fresh`.
    let look = unsafe { &mut *look };
    let Some((number, sample)) = heap::next(look) else { return 1 };
    // SAFETY: as above.
    let (heap, layout) = unsafe { (&mut *look.heap, &*look.layout.cast::<Layout>()) };
    match object::is_marked(layout, sample.address) {
        Some(true) => {
            sample.major_survived = sample.major_survived.saturating_add(1);
            stay(heap, number, sample);
        }
        told => {
            if told.is_none() {
                count(Counter::SampleUnreadable);
            }
            look.died += 1;
            died(number, sample);
        }
    }
    0
}

/// Any living sample when what was moved has left its new address.
unsafe extern "C" fn see_evacuated(_: u32, look: *mut Look) -> i64 {
    // SAFETY: as in `see_fresh`.
    let look = unsafe { &mut *look };
    let Some((number, sample)) = heap::next(look) else { return 1 };
    // It was looked at a moment ago.
    look.looked_at -= 1;
    // SAFETY: as above.
    let (heap, layout) = unsafe { (&mut *look.heap, &*look.layout.cast::<Layout>()) };
    let word = read::user_word(sample.address).unwrap_or(1);
    if word & 1 == 0 && word != 0 {
        sample.address = word;
    }
    let is_young = object::is_young(layout, sample.address).unwrap_or(false);
    heap.put(number, sample, if is_young { SampleState::Young } else { SampleState::Old });
    0
}

/// Any sample of a heap that goes.
unsafe extern "C" fn see_gone(_: u32, look: *mut Look) -> i64 {
    // SAFETY: as in `see_fresh`.
    let look = unsafe { &mut *look };
    let Some((number, sample)) = heap::next(look) else { return 1 };
    died(number, sample);
    0
}

#[inline(always)]
fn stay(heap: &mut Heap, number: u32, sample: &mut Sample) {
    let state = if sample.state == SampleState::Young as u32 { SampleState::Young } else { SampleState::Old };
    heap.put(number, sample, state);
}
