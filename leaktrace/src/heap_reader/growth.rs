//! Whether a heap grows, told by looks at it: by size class and in all, beyond what noise would do.
//!
//! A series grows over a window of looks if all of this holds:
//!
//! - **Trend**, by Mann and Kendall: each of the shortest window's looks found more than the one before (one in 40,320 of
//!   series without a trend), or a longer window's statistic Z is at least [`TREND`].
//! - **Beyond noise**: it rose by at least [`NOISE`] times the square root of what blocks that come and go by themselves
//!   would make (a Poisson number of them).
//! - **Beyond falls**: it rose by at least [`FALLS`] times the deepest fall of all looks that are kept. What fills and is
//!   emptied again is seen to grow once at most, and not after its first fall.
//! - **Fast enough**: the median slope (Theil and Sen) is at least the rate asked for.
//!
//! No clock and no input here: looks come with their times.

use std::collections::{BTreeSet, VecDeque};

use super::census::{Amount, Census, SizeClass};

/// Looks that are kept: an hour of one in 30 s.
const KEPT: usize = 120;
/// Windows, in looks.
const WINDOWS: [usize; 5] = [8, 16, 32, 64, KEPT];
/// Of Mann and Kendall's Z: one in 30,000 of series without a trend.
const TREND: f64 = 4.0;
const NOISE: f64 = 4.0;
const FALLS: u64 = 2;
/// A look that left another part of the heap unread than the one before is not comparable with it.
const UNREAD: f64 = 0.05;
const MINUTE_NS: f64 = 60e9;

/// Successive looks at one heap.
#[derive(Clone, Debug)]
pub struct Looks {
    /// Bytes a minute.
    least_rate: u64,
    kept: VecDeque<Looked>,
    /// Part of the heap that the latest look could not read.
    unread: Option<f64>,
}

#[derive(Clone, Debug)]
struct Looked {
    at_ns: u64,
    census: Census,
}

/// What grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// None: all of them together.
    pub class: Option<SizeClass>,
    /// Looks that show it, and nanoseconds from the first of them to the last.
    pub looks: u64,
    pub over_ns: u64,
    /// By how much.
    pub bytes: u64,
    pub chunks: u64,
}

/// One number over time.
struct Point {
    at_ns: u64,
    now: Amount,
    /// Variance in square bytes of as many blocks that come and go by themselves.
    variance: f64,
}

impl Looks {
    /// `least_rate` is in bytes a minute.
    #[must_use]
    pub fn new(least_rate: u64) -> Self {
        Self { least_rate, kept: VecDeque::new(), unread: None }
    }

    /// Whether the look could be compared with the one before, and so was taken in. `unread` is the part of the heap, from
    /// 0 to 1, that it could not read.
    pub fn add(&mut self, at_ns: u64, unread: f64, census: Census) -> bool {
        let before = self.unread.replace(unread);
        if before.is_some_and(|before| (unread - before).abs() > UNREAD) {
            return false;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Looked { at_ns, census });
        true
    }

    /// The size class that grew most; all of them together where no single one did.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        let classes: BTreeSet<SizeClass> = self.kept.back()?.census.in_use.keys().copied().collect();
        let grown = classes.into_iter().filter_map(|class| {
            let point = |looked: &Looked| {
                let now = looked.census.in_use.get(&class).copied().unwrap_or_default();
                Point { at_ns: looked.at_ns, now, variance: variance(class, now) }
            };
            self.grown(Some(class), &self.kept.iter().map(point).collect::<Vec<_>>())
        });
        grown.max_by_key(|growth| growth.bytes).or_else(|| {
            let point = |Looked { at_ns, census }: &Looked| {
                let variance = census.in_use.iter().map(|(class, now)| variance(*class, *now)).sum();
                Point { at_ns: *at_ns, now: census.total(), variance }
            };
            self.grown(None, &self.kept.iter().map(point).collect::<Vec<_>>())
        })
    }

    /// The shortest window that shows it.
    fn grown(&self, class: Option<SizeClass>, points: &[Point]) -> Option<Growth> {
        let fall = deepest_fall(points);
        WINDOWS.into_iter().take_while(|length| *length <= points.len()).find_map(|length| {
            let window = &points[points.len() - length..];
            let (first, last) = (&window[0], &window[length - 1]);
            let bytes = last.now.bytes.checked_sub(first.now.bytes)?;
            let is_grown = bytes > 0
                && bytes as f64 >= NOISE * last.variance.sqrt()
                && bytes >= FALLS.saturating_mul(fall)
                && has_trend(window)
                && slope(window) * MINUTE_NS >= self.least_rate as f64;
            is_grown.then(|| Growth {
                class,
                looks: length as u64,
                over_ns: last.at_ns - first.at_ns,
                bytes,
                chunks: last.now.chunks.saturating_sub(first.now.chunks),
            })
        })
    }
}

fn variance(class: SizeClass, now: Amount) -> f64 {
    (class.to as f64).powi(2) * now.chunks as f64
}

/// The most bytes that a look found less than one before it.
fn deepest_fall(points: &[Point]) -> u64 {
    let mut peak = 0;
    points.iter().fold(0, |deepest, point| {
        peak = peak.max(point.now.bytes);
        deepest.max(peak - point.now.bytes)
    })
}

/// Mann and Kendall's test of a rising trend.
fn has_trend(window: &[Point]) -> bool {
    if window.len() == WINDOWS[0] {
        return window.windows(2).all(|pair| pair[0].now.bytes < pair[1].now.bytes);
    }
    let score: i64 = pairs(window)
        .map(|(early, late)| match late.now.bytes.cmp(&early.now.bytes) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        })
        .sum();
    let looks = window.len() as f64;
    // Ties make the true variance less, so that this errs on the side of no trend.
    let variance = looks * (looks - 1.0) * (2.0 * looks + 5.0) / 18.0;
    (score - 1) as f64 / variance.sqrt() >= TREND
}

/// Theil and Sen's: the median over all pairs, in bytes a nanosecond.
fn slope(window: &[Point]) -> f64 {
    let mut slopes: Vec<f64> = pairs(window)
        .filter(|(early, late)| late.at_ns > early.at_ns)
        .map(|(early, late)| {
            (late.now.bytes as f64 - early.now.bytes as f64) / (late.at_ns - early.at_ns) as f64
        })
        .collect();
    let middle = slopes.len() / 2;
    if slopes.is_empty() { 0.0 } else { *slopes.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

fn pairs(window: &[Point]) -> impl Iterator<Item = (&Point, &Point)> {
    window
        .iter()
        .enumerate()
        .flat_map(move |(at, early)| window[at + 1..].iter().map(move |late| (early, late)))
}

#[cfg(test)]
mod tests;
