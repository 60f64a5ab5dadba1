//! Before the traced processes' turn, for as long as their probes cost them more than they may.

#![allow(unsafe_code, reason = "sched_setscheduler has no safe form in the standard library or rustix")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::gettid,
};

use crate::kernel::clock;

/// Among those of its control group, where more is not allowed.
const NICE: i32 = -10;
/// The least of those that go before all ordinary threads.
const FIRST: libc::c_int = 1;
/// A longer one is of processes whose credit stays low, for which nothing is put off.
const NEW: u64 = 3_000_000_000;
/// One that is late and at work is looked at again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// While it lasts, the thread that made it goes before every ordinary one, and so do threads that it starts: where a thousand
/// wait for a CPU, as each call of theirs is probed, what takes a tenth of a second would else take five, at their cost.
///
/// It has no effect where that is not allowed (`CAP_SYS_NICE`), or somebody chose a priority for leaktrace.
pub(super) struct Hurry {
    may: bool,
    /// Since when, where it lasts.
    since: Option<u64>,
    watch: Option<Watch>,
}

impl Hurry {
    pub(super) fn new() -> Self {
        // SAFETY: asks about the calling thread.
        let is_ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        let may = is_ordinary && getpriority_process(None) == Ok(0);
        Self { may, since: None, watch: None }
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
        if self.may {
            order(gettid(), is_on);
        }
    }

    /// By then this is to be called again: who does not come to it is set before others until they do.
    ///
    /// Few probes may cost little when they are placed, and much as soon as others leave the CPUs to those who run into them: what
    /// they cost is then seen by nobody.
    pub(super) fn expect(&mut self, by: Option<u64>) {
        if !self.may {
            return;
        }
        if by.is_some() && self.watch.is_none() {
            self.watch = Watch::start();
        }
        let Some(watch) = &self.watch else { return };
        let before = watch.expected.by.swap(by.unwrap_or(NEVER), SeqCst);
        let was_late = watch.expected.was_late.swap(false, SeqCst);
        // Else it looks for itself when the time that was said before is over.
        if before == NEVER || was_late {
            watch.thread.thread().unpark();
        }
        if was_late && self.since.is_none() {
            order(gettid(), false);
        }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.expect(None);
        self.set(false);
    }
}

/// Nothing is expected.
const NEVER: u64 = u64::MAX;
/// Nobody will ask any more.
const OVER: u64 = 0;

struct Expected {
    /// In nanoseconds of `CLOCK_MONOTONIC`.
    by: AtomicU64,
    was_late: AtomicBool,
}

/// A thread that goes before others for good, and does next to nothing.
struct Watch {
    expected: Arc<Expected>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Of the calling thread.
    fn start() -> Option<Self> {
        let expected = Arc::new(Expected { by: AtomicU64::new(NEVER), was_late: AtomicBool::new(false) });
        let (theirs, watched) = (Arc::clone(&expected), gettid());
        let watch = move || {
            if order(gettid(), true) {
                watch(&theirs, watched);
            }
        };
        let thread = thread::Builder::new().name("hurry".to_owned()).spawn(watch).ok()?;
        Some(Self { expected, thread })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.expected.by.store(OVER, SeqCst);
        self.thread.thread().unpark();
    }
}

fn watch(expected: &Expected, watched: Pid) {
    let used = || clock::of_own_thread(watched.as_raw_nonzero().get().unsigned_abs()).unwrap_or_default();
    let mut seen = (0, 0);
    loop {
        let (by, now) = (expected.by.load(SeqCst), clock::now());
        match by {
            OVER => return,
            NEVER => thread::park(),
            _ if now < by => {
                seen = (now, used());
                thread::park_timeout(Duration::from_nanos(by - now));
            }
            // It has its turn, and much to do: that would keep the others waiting.
            _ if is_at_work(seen, (now, used())) => {
                seen = (now, used());
                thread::park_timeout(AGAIN);
            }
            _ => {
                // Before it is said: who hears of it puts it back.
                order(watched, true);
                expected.was_late.store(true, SeqCst);
                thread::park();
            }
        }
    }
}

/// Whether a thread had its turn for most of the time, which was so long: when that was, and how long it had run.
const fn is_at_work((then, ran): (u64, u64), (now, has_run): (u64, u64)) -> bool {
    has_run.saturating_sub(ran) * 2 > now.saturating_sub(then)
}

/// Sets a thread of ours before all ordinary ones, or back among them. Whether that is allowed; what is not stays as it is.
fn order(thread: Pid, is_first: bool) -> bool {
    // Going first is first, so as not to wait before it. Lowering is allowed to everybody.
    let (policy, priority, nice) =
        if is_first { (libc::SCHED_RR, FIRST, NICE) } else { (libc::SCHED_OTHER, 0, 0) };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: of a thread of this process; the parameter is read in the call.
    let is_allowed =
        unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), policy, &raw const parameter) } == 0;
    let _ = setpriority_process(Some(thread), nice);
    is_allowed
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
        thread::spawn(asked).join().unwrap();
    }

    #[test]
    fn who_comes_late_is_set_before_others_until_it_has_come() {
        let before = now();
        let mut hurry = Hurry::new();
        let soon = || Some(clock::now() + 20_000_000);
        let may = rustix::process::geteuid().is_root() && before == (libc::SCHED_OTHER, 0);
        for _ in 0..3 {
            hurry.expect(soon());
            let begun = Instant::now();
            while may && now().0 != libc::SCHED_RR {
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody noticed");
                thread::sleep(Duration::from_millis(1));
            }
            while now() != before {
                // It may not have been said yet that this thread was late.
                hurry.expect(None);
                assert!(begun.elapsed() < Duration::from_secs(60), "it stays before others");
            }
        }
        // In a hurry it stays before them.
        hurry.set(true);
        hurry.expect(soon());
        thread::sleep(Duration::from_millis(60));
        let first = now();
        hurry.expect(None);
        assert_eq!(now(), first);
        drop(hurry);
        assert_eq!(now(), before);
    }

    #[test]
    fn who_is_late_because_it_works_stays_where_it_is() {
        assert!(is_at_work((1000, 500), (1100, 560)));
        assert!(!is_at_work((1000, 500), (1100, 540)));
        // One that waits has run for nothing of it, whatever the machine does besides.
        let (then, ran) = (clock::now(), clock::of_thread());
        thread::sleep(Duration::from_millis(50));
        assert!(!is_at_work((then, ran), (clock::now(), clock::of_thread())));
        let own = clock::of_own_thread(gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
        assert!(own >= ran && own <= clock::of_thread());
    }

    #[test]
    fn a_hurry_ends_and_is_of_its_thread_alone() {
        let before = now();
        let (begin, begun) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            begun.recv().unwrap();
            now()
        });
        let mut hurry = Hurry::new();
        hurry.set(true);
        let (first, child) = (now(), thread::spawn(now).join().unwrap());
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
