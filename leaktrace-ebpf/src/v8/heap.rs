//! V8's heaps and the lists of their samples.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_loop};
use core::ffi::c_void;
use leaktrace_common::{
    counter::Counter,
    process::ProcessId,
    v8::{Heap, HeapKey, Layout, SAMPLES, Sample},
};

use crate::{
    count::count,
    maps::{V8_HEAPS, V8_SAMPLES},
};

/// The heap, made known if it is not.
#[inline(always)]
pub fn get(layout: &Layout, process: ProcessId, heap: u64) -> Option<&'static mut Heap> {
    let key = HeapKey { process: u64::from(process.0), heap };
    let mut found = V8_HEAPS.get_ptr_mut(&key);
    if found.is_none() {
        let id = Heap::id_of(heap, layout.state.heaps_ended);
        let new = Heap { id, fresh: 0, young: 0, old: 0, majors: 0 };
        let _ = V8_HEAPS.insert(&key, &new, u64::from(BPF_NOEXIST));
        found = V8_HEAPS.get_ptr_mut(&key);
    }
    let Some(found) = found else {
        count(Counter::V8Full);
        return None;
    };
    // SAFETY: the map's value lives while the program runs, and only the isolate's thread touches it.
    Some(unsafe { &mut *found })
}

/// A sample by its number.
#[inline(always)]
pub fn sample(number: u32) -> Option<&'static mut Sample> {
    let sample = V8_SAMPLES.get_ptr_mut(number)?;
    // SAFETY: as for the heap; the agent only reads.
    Some(unsafe { &mut *sample })
}

/// Forgets a heap, whose lists must be empty.
#[inline(always)]
pub fn remove(process: ProcessId, heap: u64) {
    let _ = V8_HEAPS.remove(&HeapKey { process: u64::from(process.0), heap });
}

/// What a look at a heap's samples needs; the context of `bpf_loop`, which wants it on the stack.
#[repr(C)]
pub struct Look {
    pub heap: *mut Heap,
    /// To a `Layout`. The types that pointers lead to are named in the object's BTF, in an order that differs by the
    /// checkout's path where there are several; `RuleCache` is one already.
    pub layout: *mut c_void,
    /// The sample that is next.
    pub next: u32,
    pub looked_at: u32,
    pub died: u32,
    pub process: u32,
}

/// What is done with a sample; a function of `bpf_loop`.
pub type Visit = unsafe extern "C" fn(u32, *mut Look) -> i64;

/// Calls `visit` until [`next`] finds no further sample.
#[inline(always)]
pub fn each(look: &mut Look, first: u32, visit: Visit) {
    look.next = first;
    // SAFETY: `visit` is given this context and nothing else, and it outlives the call.
    unsafe { bpf_loop(SAMPLES, visit as *const () as *mut c_void, (look as *mut Look).cast(), 0) };
}

/// The sample that is next in the list, which goes on behind it.
#[inline(always)]
pub fn next(look: &mut Look) -> Option<(u32, &'static mut Sample)> {
    let number = look.next;
    if number == 0 {
        return None;
    }
    let sample = sample(number)?;
    look.next = sample.next;
    look.looked_at += 1;
    Some((number, sample))
}
