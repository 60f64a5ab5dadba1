//! The bins of birth, shared by all stacks of a process: at most 64, each of equally many epochs. When all are
//! full, neighbours are merged and a bin has twice as many epochs from then on.

use super::settings::Moment;

/// The most bins. Half as many remain after a merge, still four for each of the eight periods that are compared.
pub(super) const BINS: usize = 64;

/// What is known at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its end on the heap's clock. It began at the end of the one before.
    pub end: Moment,
    /// Its end in nanoseconds of `CLOCK_MONOTONIC`.
    pub wall_ns: u64,
    /// How much the process did in it: its allocations, all that are seen but those that a language's runtime makes for
    /// itself. These do not go as the program's work does: it compiles at first and later hardly any more, and collects in
    /// bursts. Where all epochs have 0, each counts alike.
    pub work: f64,
    /// Events of this epoch that were lost, and all of them.
    pub lost: u64,
    pub events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    pub(super) end: Moment,
    pub(super) wall_ns: u64,
    pub(super) work: f64,
    pub(super) lost: u64,
    pub(super) events: u64,
    pub(super) epochs: u32,
}

/// A time, less what the process stood idle for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) ns: u64,
    pub(super) epochs: u32,
}

/// Of a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Part {
    pub(super) epochs: f64,
    pub(super) ns: f64,
}

/// A bin with this part of the usual work counts whole.
const BUSY: f64 = 0.25;

#[derive(Clone, Debug)]
pub(super) struct Timeline {
    start: Moment,
    start_wall_ns: u64,
    /// Epochs per bin.
    width: u32,
    bins: Vec<Bin>,
    epochs: u32,
    last: Option<Epoch>,
}

impl Timeline {
    pub(super) fn new(start: Moment, start_wall_ns: u64) -> Self {
        Self { start, start_wall_ns, width: 1, bins: Vec::with_capacity(BINS), epochs: 0, last: None }
    }

    /// Whether neighbours were merged, as everything kept by bins has to be then.
    pub(super) fn push(&mut self, epoch: Epoch) -> bool {
        let Epoch { end, wall_ns, work, lost, events } = epoch;
        // Not a number or below 0 would make every sum after it so.
        let work = if work > 0.0 { work } else { 0.0 };
        self.epochs += 1;
        self.last = Some(epoch);
        if let Some(open) = self.bins.last_mut().filter(|bin| bin.epochs < self.width) {
            open.end = end;
            open.wall_ns = wall_ns;
            open.work += work;
            open.lost += lost;
            open.events += events;
            open.epochs += 1;
            return false;
        }
        let merged = self.bins.len() == BINS;
        if merged {
            self.bins = self.bins.chunks(2).map(merge).collect();
            self.width *= 2;
        }
        self.bins.push(Bin { end, wall_ns, work, lost, events, epochs: 1 });
        merged
    }

    /// Some of the work of the epoch that ended then was not the program's, as is known by now.
    pub(super) fn take_back(&mut self, end: Moment, work: f64) {
        let at = self.bins.partition_point(|bin| bin.end < end);
        if let Some(bin) = self.bins.get_mut(at) {
            bin.work = (bin.work - work).max(0.0);
        }
    }

    pub(super) fn bins(&self) -> &[Bin] {
        &self.bins
    }

    pub(super) const fn epochs(&self) -> u32 {
        self.epochs
    }

    pub(super) const fn last(&self) -> Option<Epoch> {
        self.last
    }

    /// The end of the last epoch.
    pub(super) fn now(&self) -> Moment {
        self.bins.last().map_or(self.start, |bin| bin.end)
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.bins.last().map_or(self.start_wall_ns, |bin| bin.wall_ns)
    }

    /// Where a bin begins.
    pub(super) fn begin(&self, bin: usize) -> Moment {
        bin.checked_sub(1).map_or(self.start, |before| self.bins[before].end)
    }

    pub(super) fn begin_ns(&self, bin: usize) -> u64 {
        bin.checked_sub(1).map_or(self.start_wall_ns, |before| self.bins[before].wall_ns)
    }

    /// Nanoseconds that these bins took.
    pub(super) fn ns(&self, from: usize, to: usize) -> f64 {
        to.checked_sub(1).map_or(0, |last| self.bins[last].wall_ns).saturating_sub(self.begin_ns(from)) as f64
    }

    /// Time from this bin on, and epochs, less what the process stood idle for.
    pub(super) fn busy(&self, first: usize) -> Busy {
        let (mut epochs, mut ns) = (0.0, 0.0);
        for part in self.busy_parts(first) {
            epochs += part.epochs;
            ns += part.ns;
        }
        // A hair below a whole number is one.
        Busy { epochs: (epochs + 1e-6) as u32, ns: (ns + 0.5) as u64 }
    }

    /// Each bin from this one on, by how busy the process was in it. With a quarter of what is usual while it works, or
    /// more, it counts whole: load may ebb. Usual is what half of all work was done at or below, so that neither a
    /// burst at the start nor a long rest sets the measure.
    pub(super) fn busy_parts(&self, first: usize) -> Vec<Part> {
        let bins = &self.bins[first..];
        let lengths: Vec<f64> = (first..self.bins.len()).map(|at| self.ns(at, at + 1)).collect();
        let rates = |of: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            bins.iter().enumerate().map(|(at, bin)| (bin.work / of(at).max(1.0), bin.work)).collect()
        };
        let (per_epoch, per_ns) = (rates(&|at| f64::from(bins[at].epochs)), rates(&|at| lengths[at]));
        let (epoch, ns) = (usual(&per_epoch) * BUSY, usual(&per_ns) * BUSY);
        let part = |rate: f64, whole: f64| if whole > 0.0 { (rate / whole).min(1.0) } else { 1.0 };
        let one = |(at, bin): (usize, &Bin)| Part {
            epochs: part(per_epoch[at].0, epoch) * f64::from(bin.epochs),
            ns: part(per_ns[at].0, ns) * lengths[at],
        };
        bins.iter().enumerate().map(one).collect()
    }

    /// The bin of a birth; what was born after the last epoch's end is in the last bin.
    pub(super) fn bin_of(&self, born: Moment) -> usize {
        self.bins.partition_point(|bin| bin.end <= born).min(self.bins.len().saturating_sub(1))
    }
}

/// Where half of all work is done at this rate or a lower one; of (rate, work).
fn usual(rates: &[(f64, f64)]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = rates.iter().map(|(_, work)| work).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let found = rates.into_iter().find(|(_, work)| {
        sum += work;
        sum >= half
    });
    found.map_or(0.0, |(rate, _)| rate)
}

fn merge(pair: &[Bin]) -> Bin {
    let (first, last) = (pair[0], pair[pair.len() - 1]);
    Bin {
        end: last.end,
        wall_ns: last.wall_ns,
        work: pair.iter().map(|bin| bin.work).sum(),
        lost: pair.iter().map(|bin| bin.lost).sum(),
        events: pair.iter().map(|bin| bin.events).sum(),
        epochs: if pair.len() == 1 { first.epochs } else { first.epochs + last.epochs },
    }
}

/// The same merge for what a stack keeps per bin.
pub(super) fn merge_counts(counts: &mut Vec<u32>) {
    *counts = counts.chunks(2).map(|pair| pair.iter().fold(0, |sum, n| n.saturating_add(sum))).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch { end: Moment(number * 10), wall_ns: number * 10, work: 1.0, lost: 1, events: 2 }
    }

    #[test]
    fn bins_stay_at_most_64_and_equally_wide_and_lose_nothing() {
        let mut timeline = Timeline::new(Moment(0), 0);
        for number in 1..=1000u64 {
            timeline.push(epoch(number));
            let bins = timeline.bins();
            assert!(bins.len() <= BINS);
            assert!(bins[..bins.len() - 1].iter().all(|bin| bin.epochs == bins[0].epochs));
            assert_eq!(bins.iter().map(|bin| u64::from(bin.epochs)).sum::<u64>(), number);
            assert_eq!(bins.iter().map(|bin| bin.lost).sum::<u64>(), number);
            assert_eq!(timeline.now(), Moment(number * 10));
        }
    }

    #[test]
    fn work_that_was_not_the_programs_is_taken_back_where_it_was_counted() {
        let mut timeline = Timeline::new(Moment(0), 0);
        (1..=3).for_each(|number| {
            timeline.push(epoch(number));
        });
        timeline.take_back(Moment(20), 0.75);
        timeline.take_back(Moment(30), 5.0);
        assert_eq!(timeline.bins().iter().map(|bin| bin.work).collect::<Vec<_>>(), [1.0, 0.25, 0.0]);
    }

    #[test]
    fn rest_and_a_burst_at_the_start_do_not_count_as_work() {
        let busy = |works: &[f64]| {
            let mut timeline = Timeline::new(Moment(0), 0);
            for (number, work) in (1..).zip(works) {
                timeline.push(Epoch { work: *work, ..epoch(number) });
            }
            let Busy { epochs, ns } = timeline.busy(0);
            (epochs, ns)
        };
        assert_eq!(busy(&[1.0; 20]), (20, 200));
        assert_eq!(busy(&[0.0; 20]), (20, 200), "where nothing counts as work, each epoch is one");
        assert_eq!(busy(&[[1.0; 20], [0.0; 20]].concat()), (20, 200));
        assert_eq!(busy(&[[4.0; 20], [0.1; 20]].concat()), (22, 220));
        assert_eq!(busy(&[vec![10.0], vec![1.0; 19]].concat()), (20, 200));
        assert_eq!(busy(&[[1.0; 10], [0.3; 10]].concat()), (20, 200), "load may ebb");
    }

    #[test]
    fn a_birth_is_in_the_bin_that_it_fell_into() {
        let mut timeline = Timeline::new(Moment(0), 0);
        (1..=3).for_each(|number| {
            timeline.push(epoch(number));
        });
        assert_eq!([0, 9, 10, 19, 20, 30, 99].map(|at| timeline.bin_of(Moment(at))), [0, 0, 1, 1, 2, 2, 2]);
    }
}
