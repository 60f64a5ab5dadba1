//! What each thread that runs JavaScript is doing: collecting, or allocating beyond the fast path.

use aya_ebpf::bindings::BPF_NOEXIST;
use leaktrace_common::counter::Counter;

use super::area::{Areas, Awaited};
use crate::{
    count::count,
    maps::{V8_NEW_THREAD, V8_THREADS},
    read,
};

/// A thread. All zero: nothing is known of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    /// The heap that it collects; 0 before its first collection.
    pub heap: u64,
    /// The same heap's [`leaktrace_common::v8::Heap::id`].
    pub heap_id: u64,
    /// 1 during a collection.
    pub is_collecting: u32,
    pub collector: u32,
    pub reason: u32,
    /// How many sizes of the heap were seen in this collection.
    pub sizes: u32,
    pub before: u64,
    pub after: u64,
    pub began: u64,
    /// Samples looked at in this collection, those that had died, and nanoseconds that it took.
    pub looked_at: u32,
    pub died: u32,
    pub looking: u64,
    /// Bytes of the sampled object that this thread is making, and those that it stands for; 0: there is none.
    pub size: u64,
    pub weight: u64,
    /// Of the window in which the latest sample began.
    pub shift: u32,
    pub padding: u32,
    /// Samples from before the first collection, as a list: whose heap they are in is not known yet.
    pub pending: u32,
    /// Number of the isolate that it runs, plus 1; 0 where it has none yet.
    pub isolate: u32,
    pub areas: Areas,
    /// A sample whose object was awaited and is there.
    pub found: Awaited,
}

/// This thread, made known if it is not.
#[inline(always)]
pub fn current() -> Option<&'static mut Thread> {
    let id = read::thread();
    let mut thread = V8_THREADS.get_ptr_mut(id);
    if thread.is_none() {
        // SAFETY: nobody writes this one, so that it stays all zero.
        let new = unsafe { &*V8_NEW_THREAD.get_ptr(0)? };
        let _ = V8_THREADS.insert(id, new, u64::from(BPF_NOEXIST));
        thread = V8_THREADS.get_ptr_mut(id);
    }
    let Some(thread) = thread else {
        count(Counter::V8Full);
        return None;
    };
    // SAFETY: only the thread itself, which is here, touches its entry.
    Some(unsafe { &mut *thread })
}

impl Thread {
    /// Whether it is one of V8's helpers, which allocate to move what survives: no isolate uses up so many areas before its first
    /// collection, 256 MiB.
    #[inline(always)]
    pub fn is_helper(&mut self) -> bool {
        const MOST: u32 = 1024;
        if self.heap != 0 || self.areas.refills >= MOST {
            return self.heap == 0 && !is_first();
        }
        self.areas.refills += 1;
        false
    }
}

/// This thread, if it is in a collection.
#[inline(always)]
pub fn collecting() -> Option<&'static mut Thread> {
    let thread = V8_THREADS.get_ptr_mut(read::thread())?;
    // SAFETY: as in `current`.
    let thread = unsafe { &mut *thread };
    (thread.is_collecting == 1).then_some(thread)
}

/// Whether this is the process's first thread.
#[inline(always)]
pub fn is_first() -> bool {
    let id = read::thread();
    id as u32 == (id >> 32) as u32
}

/// Forgets the thread, which ends or runs no isolate any more.
#[inline(always)]
pub fn forget() {
    let _ = V8_THREADS.remove(read::thread());
}
