//! The programs: what the kernel calls at each probe.

mod heap;
mod process;
mod region;
mod thread;
#[cfg(feature = "truth")]
mod truth;
mod v8;

use leaktrace_common::process::ProcessEntry;

use crate::{maps::PROCESSES, read};

/// The current process, if it is traced.
#[inline(always)]
fn traced() -> Option<ProcessEntry> {
    let tgid = (read::thread() >> 32) as u32;
    // SAFETY: two words, copied at once; an exec that replaces them runs in this very process, not beside it.
    unsafe { PROCESSES.get(tgid) }.copied()
}
