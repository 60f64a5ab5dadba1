//! Counting what is lost, see `leaktrace_common::counter`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use leaktrace_common::counter::Counter;

use crate::maps::COUNTERS;

/// Adds one.
#[inline(always)]
pub fn count(counter: Counter) {
    count_by(counter, 1);
}

#[inline(always)]
pub fn count_by(counter: Counter, amount: u64) {
    if let Some(all) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the map value is an array of u64 that lives as long as the program, and `counter` indexes within it.
        add(unsafe { &raw mut (*all)[counter as usize] }, amount);
    }
}

/// Adds to a word of a map's value, on which other CPUs and preempted programs work too.
#[inline(always)]
pub fn add(word: *mut u64, amount: u64) {
    // SAFETY: callers pass pointers into map values: aligned to 8 bytes and valid while the program runs.
    // `core::sync::atomic` has no `fetch_add` for BPF, the intrinsic beneath it compiles.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, amount) };
}

/// The same for half a word.
#[inline(always)]
pub fn add_u32(word: *mut u32, amount: u32) {
    // SAFETY: as in `add`, aligned to 4 bytes.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, amount) };
}
