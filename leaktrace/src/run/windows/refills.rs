//! Refills of V8's allocation areas, where they come so fast that their traps alone would slow the program down: then they are
//! looked at in windows, which no step of the program keeps time with, and each sample stands for as much more.
//!
//! Half, a quarter, ... of the time is in windows. What a window is too long, the pause after it is longer.

use std::{collections::HashMap, time::Duration};

use leaktrace_common::{process::ProcessId, v8::Window};

use super::super::{Failure, session::Session};
use crate::kernel::clock;

/// Traps a second, of CPU time where the processes use more than one CPU. With what is done at each they take some 4 µs: 0.4 % of
/// a CPU. A process that uses little of one has few, which are all worth their while.
const MOST: f64 = 1000.0;
/// More than this is not saved: a thirty-second part of the time is looked at.
const MOST_SHIFT: u32 = 5;
/// The rate is looked at so often.
const LOOK: u64 = 500_000_000;
/// So much after it was told of a window the kernel side opens it.
const LEAD: u64 = 1_000_000;

pub(super) struct Refills {
    is_adaptive: bool,
    /// The last that the kernel side was told of.
    window: Window,
    /// Part of the time in windows: one to two to the power of this.
    shift: u32,
    /// When the next window should begin.
    due: u64,
    began: u64,
    /// Nanoseconds between windows, before the last.
    closed: u64,
    looked: u64,
    /// Nanoseconds in windows since then.
    open: u64,
    /// Refills and CPU time in nanoseconds, as they were then of each process.
    counted: HashMap<ProcessId, (u32, u64)>,
}

impl Refills {
    pub(super) fn new(is_adaptive: bool) -> Self {
        let now = clock::now();
        Self {
            is_adaptive,
            window: Window::default(),
            shift: 0,
            due: now,
            began: now,
            closed: 0,
            looked: now,
            open: 0,
            counted: HashMap::new(),
        }
    }

    /// Part of the time that was looked at.
    pub(super) fn seen(&self) -> f64 {
        let now = clock::now();
        let (all, closed) = (now - self.began, self.closed_until(now));
        if all == 0 { 1.0 } else { 1.0 - closed as f64 / all as f64 }
    }

    fn closed_until(&self, now: u64) -> u64 {
        self.closed + if self.window.shift == 0 { 0 } else { now.saturating_sub(self.window.until) }
    }

    pub(super) fn turn(&mut self, session: &mut Session) -> Result<(), Failure> {
        let now = clock::now();
        // In windows it takes longer to tell.
        let look = if self.shift == 0 { LOOK } else { 4 * LOOK };
        if self.is_adaptive && now >= self.looked + look {
            self.adapt(session, now)?;
        }
        if self.window.shift == 0 {
            return Ok(());
        }
        if now >= self.window.until {
            session.lift_refills();
        }
        if now >= self.due { self.open(session) } else { Ok(()) }
    }

    /// Chooses the part of the time by what came since the last look.
    fn adapt(&mut self, session: &mut Session, now: u64) -> Result<(), Failure> {
        let (mut refills, mut used) = (0, 0);
        let counts = session.refills();
        for (process, (count, cpu)) in &counts {
            if let Some((count_before, cpu_before)) = self.counted.get(process) {
                refills += u64::from(count.saturating_sub(*count_before));
                used += cpu.saturating_sub(*cpu_before);
            }
        }
        self.counted = counts;
        let time = now - std::mem::replace(&mut self.looked, now);
        let open = std::mem::take(&mut self.open);
        let part = if self.shift == 0 { 1.0 } else { open as f64 / time as f64 };
        let seconds = Duration::from_nanos(used.max(time)).as_secs_f64() * part;
        if seconds == 0.0 {
            return Ok(());
        }
        let shift = shift_for(refills as f64 / seconds, self.shift);
        if shift == self.shift || shift > 0 && !session.can_pause_refills() {
            return Ok(());
        }
        self.shift = shift;
        // A window that is open is the last of its kind.
        if self.window.shift == 0 || shift == 0 {
            self.due = now;
            return self.open(session);
        }
        Ok(())
    }

    fn open(&mut self, session: &mut Session) -> Result<(), Failure> {
        session.place_refills()?;
        let from = clock::now() + LEAD;
        let length = length(from);
        self.closed = self.closed_until(from);
        self.open += length;
        self.window = Window {
            from,
            until: from + length,
            number: self.window.number.wrapping_add(1),
            shift: self.shift,
        };
        // What began late is made good, unless leaktrace slept.
        self.due = (self.due + (length << self.shift)).max(self.window.until);
        session.open_refills(self.window)
    }
}

/// Between a half and one and a half of the mean, by what no program keeps step with.
fn length(now: u64) -> u64 {
    let random = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Window::LENGTH / 2 + ((Window::LENGTH * random) >> 32)
}

/// The part of the time for this many traps a second, where it was `before`.
fn shift_for(rate: f64, before: u32) -> u32 {
    let taken = |shift: u32| rate / f64::from(1u32 << shift);
    let mut shift = before;
    while shift < MOST_SHIFT && taken(shift) > MOST {
        shift += 1;
    }
    // Not to and fro where the rate is about that.
    while shift > 0 && taken(shift - 1) < 0.7 * MOST {
        shift -= 1;
    }
    shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_of_the_time_is_looked_at_as_traps_allow() {
        assert_eq!([900.0, 1900.0, 7000.0, 1e6].map(|rate| shift_for(rate, 0)), [0, 1, 3, MOST_SHIFT]);
        assert_eq!([0.0, 600.0, 800.0, 1900.0, 2100.0].map(|rate| shift_for(rate, 1)), [0, 0, 1, 1, 2]);
        assert_eq!(shift_for(600.0, MOST_SHIFT), 0);
    }

    #[test]
    fn windows_differ_in_length_about_their_mean() {
        let lengths: Vec<u64> = (0..10_000).map(|at| length(at * 10_000_019)).collect();
        let mean = lengths.iter().sum::<u64>() / 10_000;
        assert!(mean.abs_diff(Window::LENGTH) < Window::LENGTH / 50, "{mean}");
        let [half, one_and_a_half] = [Window::LENGTH / 2, Window::LENGTH * 3 / 2];
        assert!(lengths.iter().all(|length| (half..=one_and_a_half).contains(length)));
        assert!(lengths.iter().filter(|length| **length < half + half / 4).count() > 1000);
    }
}
