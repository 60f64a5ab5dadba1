//! When native memory was watched: always, or in windows.
//!
//! A window stands for itself and for the pause after it: what lives of its births, for what lives of the births of both. The
//! measure is the processes' own work, not time: tracing slows them down, so that less is done in a window than in as much of
//! a pause. What was born in a window stands for itself alone until the next one is over: a block that only seemed to live
//! through the pause, as its address was handed out again and again, has been seen to do so by then.

/// A time and what was done until then, both in nanoseconds: of `CLOCK_MONOTONIC`, and of CPU time without that of tracing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    at: u64,
    work: u64,
}

/// What the processes did for themselves in a time, in nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub all: f64,
    /// While native memory was watched.
    pub watched: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    /// Where it changed, by time: the first is the end of the first window, the second the end of the first pause, and so on.
    changes: Vec<Point>,
    /// The first and the last that are known.
    first: Option<Point>,
    last: Point,
}

impl Windows {
    pub(super) fn pause(&mut self, at: u64, work: u64) {
        if self.changes.len().is_multiple_of(2) {
            self.change(at, work);
        }
    }

    pub(super) fn resume(&mut self, at: u64, work: u64) {
        if !self.changes.len().is_multiple_of(2) {
            self.change(at, work);
        }
    }

    pub(super) fn work(&mut self, at: u64, work: u64) {
        self.last = Point { at: at.max(self.last.at), work: work.max(self.last.work) };
        self.first.get_or_insert(self.last);
    }

    fn change(&mut self, at: u64, work: u64) {
        self.work(at, work);
        self.changes.push(self.last);
    }

    /// How many births one of this time stands for.
    pub(super) fn weight(&self, born: u64) -> f64 {
        // In a window; what seems to be born in a pause is of the window's last moments.
        let end = self.changes.partition_point(|change| change.at <= born).next_multiple_of(2);
        let Some([pause, next, _]) = self.changes.get(end..end + 3) else { return 1.0 };
        let begun = end.checked_sub(1).map_or(0, |before| self.changes[before].work);
        let (window, after) = (pause.work - begun, next.work - pause.work);
        if window == 0 { 1.0 } else { 1.0 + after as f64 / window as f64 }
    }

    /// The work done between these times; none where all is watched.
    pub(super) fn work_of(&self, from: u64, to: u64) -> Option<Work> {
        if self.changes.is_empty() {
            return None;
        }
        let mut sum = Work::default();
        let mut before = self.first.unwrap_or_default();
        for (number, point) in self.changes.iter().chain([&self.last]).enumerate() {
            let length = point.at.saturating_sub(before.at);
            let within = point.at.min(to).saturating_sub(before.at.max(from));
            if length > 0 {
                let work = (point.work - before.work) as f64 * within as f64 / length as f64;
                sum.all += work;
                sum.watched += if number.is_multiple_of(2) { work } else { 0.0 };
            }
            before = *point;
        }
        Some(sum)
    }

    /// What was born since has been watched all its life; none while nothing is watched.
    pub(super) fn heard_since(&self) -> Option<u64> {
        let is_watched = self.changes.len().is_multiple_of(2);
        is_watched.then(|| self.changes.last().map_or(0, |resumed| resumed.at))
    }

    /// Part of the time from `start` on in which it was watched.
    pub(super) fn time_watched(&self, start: u64, now: u64) -> f64 {
        let mut ends: Vec<u64> = self.changes.iter().map(|change| change.at).collect();
        if !ends.len().is_multiple_of(2) {
            ends.push(now);
        }
        let paused: u64 = ends.as_chunks::<2>().0.iter().map(|[from, to]| to.saturating_sub(*from)).sum();
        let all = now.saturating_sub(start);
        if all == 0 { 1.0 } else { 1.0 - paused as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watched to 100, from 190 to 200 and from 280 on; a tenth of the speed while watched.
    fn windows() -> Windows {
        let mut windows = Windows::default();
        windows.work(0, 0);
        windows.pause(100, 10);
        windows.resume(190, 100);
        windows.pause(200, 101);
        windows.resume(280, 181);
        windows.work(300, 183);
        windows
    }

    #[test]
    fn a_birth_stands_for_those_of_the_pause_that_followed() {
        let windows = windows();
        assert_eq!(windows.weight(50), 10.0);
        assert_eq!([windows.weight(195), windows.weight(290)], [1.0, 1.0]);
    }

    #[test]
    fn a_pause_counts_once_the_window_after_it_is_over() {
        let mut windows = windows();
        windows.pause(300, 183);
        assert_eq!([windows.weight(195), windows.weight(290)], [81.0, 1.0]);
        // Told late of the moment when the window ended.
        assert_eq!(windows.weight(150), 81.0);
    }

    #[test]
    fn of_the_work_of_a_time_a_part_was_watched() {
        let work = |from, to| windows().work_of(from, to).unwrap();
        assert_eq!(work(100, 190), Work { all: 90.0, watched: 0.0 });
        assert_eq!(work(145, 200), Work { all: 46.0, watched: 1.0 });
        assert_eq!(work(280, 300), Work { all: 2.0, watched: 2.0 });
        assert_eq!(Windows::default().work_of(0, 100), None);
    }

    #[test]
    fn what_is_born_in_a_window_is_heard_of_until_it_is_over() {
        let mut windows = windows();
        assert_eq!([Windows::default().heard_since(), windows.heard_since()], [Some(0), Some(280)]);
        windows.pause(340, 190);
        assert_eq!(windows.heard_since(), None);
    }

    #[test]
    fn of_the_time_a_part_was_watched() {
        let mut windows = windows();
        assert_eq!(windows.time_watched(0, 340), 0.5);
        windows.pause(340, 190);
        assert_eq!(windows.time_watched(0, 680), 0.25);
        // A beginning and an end that are told twice change nothing.
        windows.pause(350, 191);
        windows.resume(680, 191);
        windows.resume(690, 192);
        assert_eq!(windows.time_watched(0, 680), 0.25);
    }
}
