//! V8's heap from outside: samples of what JavaScript allocates, what becomes of them at each collection, and the
//! functions of JavaScript frames.
//!
//! The program stands still in every probe here, and a heap is only touched by the thread that runs its isolate. So
//! the lists of a heap's samples need no lock.

mod area;
mod cache;
mod check;
mod collection;
mod function;
mod heap;
mod object;
mod sample;
mod stack;
mod thread;

use aya_ebpf::bindings::BPF_ANY;
use leaktrace_common::{
    process::ProcessId,
    v8::{Layout, Window},
};

pub use self::{
    cache::FunctionCache,
    collection::{begin, end, evacuated, marked, size_of_objects, tear_down, young_moved},
    sample::{allocate_enter, allocate_observed, allocate_return, refill, refill_and_wait},
    stack::with_functions,
    thread::{Thread, forget as forget_thread},
};
use crate::{
    maps::{V8_LAYOUTS, V8_WINDOW},
    read,
};

/// Where things lie in the process's V8, if it has one.
#[inline(always)]
pub fn layout(process: ProcessId) -> Option<&'static mut Layout> {
    let layout = V8_LAYOUTS.get_ptr_mut(process.0)?;
    // SAFETY: the map's value lives while the program runs. The agent writes a value before any probe of the
    // process, and again when there is a copy of the builtins; `State` and `can` change here, and threads of one process
    // that do so at one time lose a check at most.
    Some(unsafe { &mut *layout })
}

/// The window that is open, if one is.
#[inline(always)]
pub fn window() -> Option<Window> {
    let window = V8_WINDOW.get(0).copied().unwrap_or_default();
    // Mostly there is no other, and the time need not be asked for.
    (window.shift == 0 || window.is_open(read::now())).then_some(window)
}

/// Gives a child the layout of its parent, of whom it is a copy.
#[inline(always)]
pub fn inherit(parent: ProcessId, child: ProcessId) {
    if let Some(layout) = layout(parent) {
        let _ = V8_LAYOUTS.insert(child.0, &*layout, u64::from(BPF_ANY));
    }
}
