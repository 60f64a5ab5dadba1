//! For tests of the checks on the running process: makes what was derived from the binary wrong. Nothing but a test that
//! has leaktrace in its own process can reach it.

use std::sync::{Mutex, PoisonError};

use leaktrace_common::v8::Layout;

static WRONG: Mutex<Option<fn(&mut Layout)>> = Mutex::new(None);

/// From now on `wrong` is done to every layout before the kernel side is told of it.
pub fn set(wrong: Option<fn(&mut Layout)>) {
    *WRONG.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
}

pub(crate) fn apply(layout: &mut Layout) {
    let wrong = *WRONG.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(wrong) = wrong {
        wrong(layout);
    }
}
