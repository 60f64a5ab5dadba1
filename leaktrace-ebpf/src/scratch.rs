//! Space to build a stack in, taken for one run of a program.

use core::intrinsics::{AtomicOrdering, atomic_xchg};

use leaktrace_common::{event::StackRecord, stack::StackEntry, unfinished::UnfinishedRecord};

use crate::maps::SCRATCH;

/// One slot of the map `SCRATCH`.
#[repr(C)]
pub struct Scratch {
    /// 1 while a program uses the slot.
    busy: u64,
    pub record: StackRecord,
    pub walk: crate::unwind::Walk,
    /// The same stack with the functions of its JavaScript frames.
    pub javascript: StackRecord,
    pub unfinished: UnfinishedRecord,
    /// Of a stack that is new: too large for a program's own memory, which older kernels reckon more strictly.
    pub entry: StackEntry,
}

/// Slots a CPU, the size of the map.
const SLOTS: u32 = 8;

/// The first free slot of this CPU. Give it back with [`release`].
#[inline(always)]
pub fn acquire() -> Option<&'static mut Scratch> {
    for index in 0..SLOTS {
        let slot = SCRATCH.get_ptr_mut(index)?;
        // SAFETY: the map's value is there for the whole run, and `busy` is changed only atomically.
        // `AtomicU64::swap` does not compile for BPF, the intrinsic beneath it does.
        let was = unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&raw mut (*slot).busy, 1) };
        if was == 0 {
            // SAFETY: the exchange made this run the only user of the slot.
            return Some(unsafe { &mut *slot });
        }
    }
    None
}

/// Gives a slot back.
#[inline(always)]
pub fn release(scratch: &mut Scratch) {
    // SAFETY: the slot is this run's own until this write.
    unsafe { core::ptr::write_volatile(&raw mut scratch.busy, 0) };
}
