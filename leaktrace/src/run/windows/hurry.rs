//! Before the traced processes' turn, for as long as their probes cost them more than they may.

use rustix::process::{getpriority_process, setpriority_process};

/// Where some hundred threads wait for a CPU, which probes keep busy, an ordinary thread that is to lift them waits for
/// seconds.
const NICE: i32 = -10;

/// The thread that made it goes first while it is there, among those of its control group; and what threads it starts.
pub(super) struct Hurry(());

impl Hurry {
    /// None where that is not allowed (`CAP_SYS_NICE`), or somebody chose another priority for leaktrace.
    pub(super) fn begin() -> Option<Self> {
        let is_ordinary = getpriority_process(None).ok()? == 0;
        // Of the calling thread alone.
        (is_ordinary && setpriority_process(None, NICE).is_ok()).then(|| Self(()))
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        // Lowering it is allowed to everybody.
        let _ = setpriority_process(None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_another_priority_keeps_it() {
        let asked = || {
            // Everybody may go further behind.
            let chosen = getpriority_process(None).unwrap().max(0) + 1;
            setpriority_process(None, chosen).unwrap();
            assert!(Hurry::begin().is_none());
            let before = chosen.min(19);
            assert_eq!(getpriority_process(None).unwrap(), before);
        };
        std::thread::spawn(asked).join().unwrap();
    }

    #[test]
    fn a_hurry_ends_and_is_of_its_thread_alone() {
        let before = getpriority_process(None).unwrap();
        let (begin, begun) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            begun.recv().unwrap();
            getpriority_process(None).unwrap()
        });
        if let Some(hurry) = Hurry::begin() {
            assert_eq!(getpriority_process(None).unwrap(), NICE);
            // A hurry within another is none.
            assert!(Hurry::begin().is_none());
            begin.send(()).unwrap();
            assert_eq!(other.join().unwrap(), before);
            drop(hurry);
        }
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
