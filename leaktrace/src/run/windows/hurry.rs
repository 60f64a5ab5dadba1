//! Before the traced processes' turn, for as long as their probes cost them more than they may.

#![allow(unsafe_code, reason = "sched_setscheduler has no safe form in the standard library or rustix")]

use rustix::process::{getpriority_process, setpriority_process};

use crate::kernel::clock;

/// Among those of its control group, where more is not allowed.
const NICE: i32 = -10;
/// The least of those that go before all ordinary threads.
const FIRST: libc::c_int = 1;

/// A longer one is of processes whose credit stays low, for which nothing is put off.
const NEW: u64 = 3_000_000_000;

/// While it lasts, the thread that made it goes before every ordinary one, and so do threads that it starts: where a thousand
/// wait for a CPU, as each call of theirs is probed, what takes a tenth of a second would else take five, at their cost.
///
/// It has no effect where that is not allowed (`CAP_SYS_NICE`), or somebody chose a priority for leaktrace.
pub(super) struct Hurry {
    may: bool,
    /// Since when, where it lasts.
    since: Option<u64>,
}

impl Hurry {
    pub(super) fn new() -> Self {
        // SAFETY: asks about the calling thread.
        let is_ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        Self { may: is_ordinary && getpriority_process(None) == Ok(0), since: None }
    }

    /// Whether it lasts, and not for long yet.
    pub(super) fn is_new(&self) -> bool {
        self.since.is_some_and(|since| clock::now() < since + NEW)
    }

    pub(super) fn set(&mut self, is_on: bool) {
        if is_on == self.since.is_some() {
            return;
        }
        self.since = is_on.then(clock::now);
        if !self.may {
            return;
        }
        // Going first is first, so as not to wait before it. What is not allowed is left as it is; lowering is to everybody.
        let (policy, priority, nice) =
            if is_on { (libc::SCHED_RR, FIRST, NICE) } else { (libc::SCHED_OTHER, 0, 0) };
        let parameter = libc::sched_param { sched_priority: priority };
        // SAFETY: of the calling thread; the parameter is read in the call.
        unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
        let _ = setpriority_process(None, nice);
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the calling thread.
    fn now() -> (libc::c_int, i32) {
        // SAFETY: asks about the calling thread.
        (unsafe { libc::sched_getscheduler(0) }, getpriority_process(None).unwrap())
    }

    #[test]
    fn who_asked_for_another_priority_keeps_it() {
        let asked = || {
            // Everybody may go further behind.
            setpriority_process(None, getpriority_process(None).unwrap().max(0) + 1).unwrap();
            let before = now();
            let mut hurry = Hurry::new();
            for is_on in [true, false] {
                hurry.set(is_on);
                assert_eq!(now(), before);
            }
        };
        std::thread::spawn(asked).join().unwrap();
    }

    #[test]
    fn a_hurry_ends_and_is_of_its_thread_alone() {
        let before = now();
        let (begin, begun) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            begun.recv().unwrap();
            now()
        });
        let mut hurry = Hurry::new();
        hurry.set(true);
        let (first, child) = (now(), std::thread::spawn(now).join().unwrap());
        begin.send(()).unwrap();
        assert_eq!(other.join().unwrap(), before);
        if rustix::process::geteuid().is_root() && before == (libc::SCHED_OTHER, 0) {
            assert_eq!(first, (libc::SCHED_RR, NICE));
        }
        // What is to be done fast is done by its threads too.
        assert_eq!(child, first);
        hurry.set(false);
        assert_eq!(now(), before);
        hurry.set(true);
        drop(hurry);
        assert_eq!(now(), before);
    }
}
