//! memwatch's rule: the heap grew over so many consecutive major collections. A familiar early sign, shown as what it
//! is and never as the verdict: more than half of what does not leak does so at some time (see the zoo).
//!
//! Source: <https://github.com/airbnb/node-memwatch>, "leak" event: "heap growth over 5 consecutive GCs".

use serde::{Deserialize, Serialize};

/// The heap after a major collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapSize {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// In use.
    pub bytes: u64,
}

/// The fields of memwatch's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapGrowth {
    /// Before the first growth.
    pub start: HeapSize,
    pub end: HeapSize,
    /// Bytes.
    pub growth: u64,
    /// Collections that it grew over.
    pub collections: u32,
    pub reason: String,
}

/// Counts collections after which the heap was larger than after the one before.
#[derive(Clone, Debug)]
pub struct Consecutive {
    needed: u32,
    tolerance: f64,
    start: Option<HeapSize>,
    last: Option<HeapSize>,
    grown: u32,
}

/// memwatch's number.
const GCS: u32 = 5;

impl Default for Consecutive {
    fn default() -> Self {
        Self::new(GCS, 0.0)
    }
}

impl Consecutive {
    /// `needed` collections in a row (at least 1). A heap that shrinks by at most `tolerance` (a part of its size,
    /// 0 as memwatch has it) is not growth, and does not end a row either.
    #[must_use]
    pub fn new(needed: u32, tolerance: f64) -> Self {
        Self { needed: needed.max(1), tolerance: tolerance.max(0.0), start: None, last: None, grown: 0 }
    }

    /// Told of each major collection, in order; the growth while it lasts.
    pub fn after(&mut self, now: HeapSize) -> Option<HeapGrowth> {
        let before = self.last.unwrap_or(now);
        let within = before.bytes as f64 * (1.0 - self.tolerance);
        if now.bytes > before.bytes {
            self.grown += 1;
        } else if self.tolerance == 0.0 || (now.bytes as f64) < within {
            self.grown = 0;
            self.start = Some(now);
        }
        self.last = Some(now);
        let start = *self.start.get_or_insert(now);
        let growth = now.bytes.saturating_sub(start.bytes);
        (self.grown >= self.needed && growth > 0).then(|| HeapGrowth {
            start,
            end: now,
            growth,
            collections: self.grown,
            reason: format!("heap growth over {} consecutive GCs", self.grown),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: &mut Consecutive, sizes: &[u64]) -> Vec<Option<u64>> {
        let size = |(at, bytes): (usize, &u64)| HeapSize { at_ns: at as u64, bytes: *bytes };
        sizes.iter().enumerate().map(size).map(|now| rule.after(now).map(|told| told.growth)).collect()
    }

    #[test]
    fn five_growths_in_a_row_are_told_with_start_and_end() {
        let mut rule = Consecutive::default();
        let grown = told(&mut rule, &[10, 12, 13, 20, 21]);
        assert_eq!(grown, [None; 5]);
        let told = rule.after(HeapSize { at_ns: 5, bytes: 30 }).expect("the fifth growth");
        assert_eq!((told.start.bytes, told.end.bytes, told.growth, told.collections), (10, 30, 20, 5));
        assert_eq!(told.reason, "heap growth over 5 consecutive GCs");
    }

    #[test]
    fn a_heap_that_does_not_grow_once_begins_anew() {
        let grown = told(&mut Consecutive::default(), &[10, 11, 12, 13, 13, 14, 15, 16, 17, 18]);
        assert_eq!(grown.iter().flatten().copied().collect::<Vec<u64>>(), [5]);
    }

    #[test]
    fn a_small_fall_within_the_tolerance_does_not_end_a_row() {
        let sizes = [100, 110, 120, 119, 130, 140, 60, 70];
        assert_eq!(told(&mut Consecutive::new(4, 0.02), &sizes)[5..], [Some(40), None, None]);
        assert_eq!(told(&mut Consecutive::new(4, 0.0), &sizes)[5], None);
    }
}
