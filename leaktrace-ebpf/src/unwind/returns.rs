//! Return addresses that pending return probes have replaced on the stack.
//!
//! The kernel keeps the original ones in a list of the thread, innermost first:
//! <https://github.com/torvalds/linux/blob/v6.12/include/linux/uprobes.h> `struct return_instance`.

use leaktrace_common::unfinished::{PENDING, PendingReturn};

use crate::{config, read};

/// The list's first entry that the walk has not passed.
#[repr(C)]
pub struct Returns {
    /// The entry after it; 0: none.
    next: u64,
    /// Its place on the stack; the highest address where there is no entry.
    place: u64,
    original: u64,
}

/// Entries below the frame that are skipped at a time: some kernels keep that of the probe that runs, tail calls
/// make several for one place, and longjmp leaves some behind. What is left over is skipped at the next frame.
const SKIPPED: u32 = 4;

impl Returns {
    /// The list of the current thread.
    #[inline(always)]
    pub fn start(&mut self) {
        self.next = 0;
        self.place = u64::MAX;
        if config::task_utask_offset() == 0 {
            return;
        }
        // SAFETY: a member of the task, which the verifier checks.
        let utask = unsafe { read::field(read::task(), config::task_utask_offset()) };
        if utask == 0 {
            return;
        }
        // SAFETY: the member was a pointer, whose type the verifier knows; a read that faults gives 0.
        self.next = unsafe { read::field(utask, config::utask_returns_offset()) };
        if self.next != 0 {
            advance(self);
        }
    }

    /// What stood at `place` before a return probe, which may be what was found there.
    #[inline(always)]
    pub fn original(&mut self, place: u64, found: u64) -> u64 {
        if place < self.place { found } else { catch_up(self, place, found) }
    }
}

/// The entries that the walk has not passed, which is then at the end of what fits.
#[inline(never)]
pub fn pending(returns: &mut Returns, into: &mut [PendingReturn; PENDING]) -> u32 {
    let mut index = 0;
    while index < PENDING {
        into[index] = PendingReturn { key: returns.place, original: returns.original };
        advance(returns);
        index += 1;
    }
    0
}

#[inline(never)]
fn catch_up(returns: &mut Returns, place: u64, found: u64) -> u64 {
    let mut skipped = 0;
    while skipped < SKIPPED && returns.place < place {
        advance(returns);
        skipped += 1;
    }
    if returns.place == place { returns.original } else { found }
}

#[inline(always)]
fn advance(returns: &mut Returns) {
    let entry = returns.next;
    returns.place = u64::MAX;
    returns.next = 0;
    if entry == 0 {
        return;
    }
    let place = read::kernel_u64(entry + config::return_stack_offset());
    let original = read::kernel_u64(entry + config::return_address_offset());
    let (Some(place), Some(original)) = (place, original) else { return };
    returns.place = place;
    returns.original = original;
    returns.next = read::kernel_u64(entry + config::return_next_offset()).unwrap_or(0);
}
