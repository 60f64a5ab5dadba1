//! Other tools' rules, on the same hours.
//!
//! Each is asked at the end of every epoch of 30 seconds, with what it would have seen by then, and about each stack,
//! as our rule is; memwatch looks at the whole heap, as it does.

use leaktrace::verdict::{Consecutive, HeapSize};

use crate::{
    hour::{HOUR, Hour, Object},
    watch::EPOCH,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    Memwatch,
    Outstanding,
    Slope,
    MannKendall,
    Scalene,
}

impl Rival {
    pub const ALL: [Self; 5] =
        [Self::Memwatch, Self::Outstanding, Self::Slope, Self::MannKendall, Self::Scalene];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memwatch => "memwatch: up over 5 consecutive GCs",
            Self::Outstanding => "outstanding for over 10 min (bcc memleak)",
            Self::Slope => "least-squares slope",
            Self::MannKendall => "Mann-Kendall + Theil-Sen",
            Self::Scalene => "Scalene",
        }
    }

    /// For each epoch whether it says that something leaks.
    #[must_use]
    pub fn says(self, hour: &Hour) -> Vec<bool> {
        let stacks = (0..hour.stacks.len()).map(|stack| Series::of(hour, |object| object.stack == stack));
        match self {
            Self::Memwatch => memwatch(&Series::of(hour, |_| true)),
            Self::Scalene => scalene(hour),
            _ => {
                let mut says = vec![false; EPOCHS];
                for series in stacks {
                    for (epoch, says) in says.iter_mut().enumerate() {
                        *says |= match self {
                            Self::Outstanding => series.oldest[epoch] > OLD,
                            Self::Slope => epoch >= FEWEST && slope(&series.bytes[..=epoch]),
                            _ => epoch >= FEWEST && epoch % 4 == 3 && mann_kendall(&series.bytes[..=epoch]),
                        };
                    }
                }
                says
            }
        }
    }
}

const EPOCHS: usize = (HOUR / EPOCH) as usize;
/// Seconds.
const OLD: f64 = 600.0;
/// Epochs that a trend needs.
const FEWEST: usize = 8;
/// Bytes per epoch: 1 KB a minute.
const FLOOR: f64 = 512.0;
/// Of 95 %, one-sided.
const SIGNIFICANT: f64 = 1.645;

/// Live memory of a stack by epoch.
struct Series {
    bytes: Vec<f64>,
    /// Age of the oldest live object in seconds; 0 without one.
    oldest: Vec<f64>,
}

impl Series {
    fn of(hour: &Hour, wanted: impl Fn(&Object) -> bool) -> Self {
        let mut changes = vec![0.0; EPOCHS + 1];
        let mut oldest = vec![0.0f64; EPOCHS];
        for object in hour.objects.iter().filter(|object| wanted(object)) {
            let from = (object.born / EPOCH) as usize;
            let to = ((object.dies / EPOCH) as usize).min(EPOCHS);
            if from < to {
                changes[from] += object.bytes as f64;
                changes[to] -= object.bytes as f64;
                for (epoch, oldest) in (from..to).zip(&mut oldest[from..to]) {
                    *oldest = oldest.max((epoch + 1) as f64 * EPOCH - object.born);
                }
            }
        }
        let mut live = 0.0;
        let bytes = changes[..EPOCHS]
            .iter()
            .map(|change| {
                live += change;
                live
            })
            .collect();
        Self { bytes, oldest }
    }
}

fn memwatch(heap: &Series) -> Vec<bool> {
    let mut rule = Consecutive::default();
    let say = |(epoch, bytes): (usize, &f64)| {
        let at_ns = ((epoch + 1) as f64 * EPOCH * 1e9) as u64;
        rule.after(HeapSize { at_ns, bytes: *bytes as u64 }).is_some()
    };
    heap.bytes.iter().enumerate().map(say).collect()
}

fn slope(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let at = || values.iter().enumerate().map(|(x, y)| (x as f64 - mean_x, y - mean_y));
    let xx: f64 = at().map(|(x, _)| x * x).sum();
    let slope = at().map(|(x, y)| x * y).sum::<f64>() / xx;
    let residue: f64 = at().map(|(x, y)| (y - slope * x).powi(2)).sum();
    let error = (residue / (n - 2.0) / xx).sqrt();
    slope > FLOOR && slope > SIGNIFICANT * error
}

fn mann_kendall(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let mut slopes = Vec::with_capacity(values.len() * values.len() / 2);
    let mut s = 0.0;
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate().skip(i + 1) {
            s += if b > a { 1.0 } else { f64::from(-i8::from(b < a)) };
            slopes.push((b - a) / (j - i) as f64);
        }
    }
    let z = (s - 1.0) / (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let middle = slopes.len() / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    z > SIGNIFICANT && *median > FLOOR
}

/// At each new peak of the footprint, one object is followed, and whether the one before was freed is counted for its
/// site. <https://github.com/plasma-umass/scalene> says a site leaks when 1 - (frees + 1) / (all - frees + 2) is at
/// least 0.95 and the footprint grew by 1 %.
fn scalene(hour: &Hour) -> Vec<bool> {
    let heap = Series::of(hour, |_| true);
    let mut sites = vec![(0.0, 0.0); hour.stacks.len()];
    let mut followed: Option<&Object> = None;
    let mut peak = 0.0;
    let mut born = 0;
    let mut says = Vec::with_capacity(EPOCHS);
    for (epoch, bytes) in heap.bytes.iter().enumerate() {
        let end = (epoch + 1) as f64 * EPOCH;
        born += hour.objects[born..].iter().take_while(|object| object.born < end).count();
        if *bytes > peak {
            peak = *bytes;
            if let Some(object) = followed {
                let (all, frees) = &mut sites[object.stack];
                *all += 1.0;
                *frees += if object.dies <= end { 1.0 } else { 0.0 };
            }
            followed = born.checked_sub(1).map(|last| &hour.objects[last]);
        }
        let grew = *bytes > heap.bytes[0] * 1.01;
        let leaks = |(all, frees): &(f64, f64)| 1.0 - (frees + 1.0) / (all - frees + 2.0) >= 0.95;
        says.push(grew && sites.iter().any(leaks));
    }
    says
}
