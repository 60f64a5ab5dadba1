//! The five tests on the objects of one stack, or of all stacks below a frame.
//!
//! For each onset, from the start of tracing on: objects at least an eighth of the time since then old are
//! *survivors* or *deaths*, and survivors are put into eight periods of equal work by their birth. The age is
//! rounded up to where a bucket of the histogram begins, so that deaths are exact. Where epochs do not divide evenly,
//! each period's work is its exposure, and rates are compared instead of counts.

use super::{
    confidence::{self, Refuge},
    evidence::{Evidence, Lacking, Outcome, Rate, Refuted, Spread, Test, Tested, Verdict},
    probability::{at_most, share_above},
    settings::Settings,
    sums::Sums,
    timeline::Timeline,
    verified::Verified,
};

/// Periods that are compared.
const PERIODS: usize = 8;
/// Fewer say nothing of a trend: the first five collections give four.
const FEWEST_PERIODS: usize = 4;
/// Late onsets that are tried, as shares of everything traced.
const ONSETS: [f64; 7] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
/// A late onset is one only if the growth before was at most this part of that after.
const BEFORE: f64 = 0.5;

/// T1: the share of old objects that die is below this, with this probability.
const DYING: f64 = 0.2;
const T1: f64 = 0.95;
/// T2: the last periods' rate is more than this part of the first ones', with this probability.
const SLOWED: f64 = 0.5;
/// Nor did it stop since: of what was born after the survivors, too young to be counted among them, at least as
/// much lives. This is looked at only to see an end, so that it is likelier than not is enough.
const STOPPED: f64 = 0.01;
const GOING_ON: f64 = 0.5;
/// Less of the work than this part of what an even share of the time would be is idleness, which tells nothing.
const IDLE: f64 = 0.1;
/// T3: and the other way round.
const RECENT: f64 = 0.33;
const T2_T3: f64 = 0.90;
/// T4: this share of the periods has survivors, and none has more than that share of them.
const FILLED: f64 = 0.75;
const LARGEST: f64 = 0.45;
/// Others' allocations tell how busy the process is if there are so many a bin, and this part of all.
const FEW_OTHERS: f64 = 8.0;
const LITTLE: f64 = 0.1;
/// Objects from which a failed test says something of the stack and not of chance.
const TELLING: u64 = 50;
/// Of 95 % on both sides.
const QUANTILE: f64 = 1.96;

/// What the tests say.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) evidence: Evidence,
    pub(super) passes: bool,
    /// What it lacks to pass, if it does not.
    pub(super) lacking: Option<Lacking>,
    /// The first test that fails.
    pub(super) failed: Option<Test>,
    /// It fails on enough objects: what is below this frame is no leak, and no part of one further up.
    pub(super) refuted: bool,
    pub(super) stacks: u32,
    collapses: u32,
    early: bool,
}

impl Finding {
    /// The name of what this is, if it is no leak.
    pub(super) fn named(&self) -> Option<Verdict> {
        Some(match self.failed? {
            Test::OldOnesLive if self.collapses >= 2 => Verdict::Sawtooth,
            Test::OldOnesLive | Test::NotOnlyRecent => Verdict::Bounded,
            Test::Spread if !self.early => Verdict::Step,
            Test::Spread | Test::NotSlowing => Verdict::WarmUp,
            Test::Material => return None,
        })
    }

    pub(super) fn refutation(&self) -> Refuted {
        let Evidence { survivors, deaths, .. } = self.evidence;
        self.failed.map_or(Refuted::Gone, |test| Refuted::Test { test, survivors, deaths })
    }
}

/// None where there is nothing to judge yet. `wanted` asks for the evidence of few objects too.
pub(super) fn judge(sums: &Sums, time: &Timeline, settings: &Settings, wanted: bool) -> Option<Finding> {
    let deaths = sums.deaths_from(1);
    if !wanted && sums.live < settings.suspect_survivors && sums.live + deaths < TELLING {
        return None;
    }
    let whole = at_onset(sums, time, settings, 0.0, wanted)?;
    // What is refuted by its deaths at the longest age is so for every onset only if those deaths are old enough;
    // a late onset looks at younger ones, of which there are more.
    if whole.passes || whole.failed == Some(Test::OldOnesLive) {
        return Some(whole);
    }
    let late = ONSETS.into_iter().find_map(|onset| {
        let late = at_onset(sums, time, settings, onset, false)?;
        late.passes.then_some(late)
    });
    Some(late.unwrap_or(whole))
}

struct Period {
    exposure: f64,
    count: f64,
}

fn at_onset(sums: &Sums, time: &Timeline, settings: &Settings, onset: f64, wanted: bool) -> Option<Finding> {
    let bins = time.bins();
    let first = (bins.len() as f64 * onset).round() as usize;
    let now = time.now();
    let span = now.0.saturating_sub(time.begin(first).0);
    let bucket = settings.ages.from((span / 8).max(settings.youngest));
    let least = settings.ages.least(bucket);
    let cut = bins.partition_point(|bin| bin.end.0.saturating_add(least) <= now.0);
    let (bucket, cut) = if cut > first {
        (bucket, cut)
    } else if sums.unreachable.blocks > 0 || wanted {
        // What cannot be reached need not get old to be lost, nor to be found again.
        (0, bins.len())
    } else {
        return None;
    };
    let age = settings.ages.least(bucket);
    // Objects of the bin that the age falls into are left out; all deaths at that age are in.
    let survivors = sums.survivors(0, cut);
    let deaths = sums.deaths_from(bucket);
    let grown = sums.survivors(first, cut);
    let exposures = exposures(sums, time, first);
    let as_one = sums.births_as_one(first, bins.len());
    let periods = periods(sums, first, cut, &exposures, as_one);
    let counted: f64 = periods.iter().map(|period| period.count).sum();
    let dispersion = dispersion(&periods, counted);
    let rate = rate(sums, time, first, cut, dispersion);
    let window_epochs = bins[first..].iter().map(|bin| bin.epochs).sum();
    let busy = time.busy(first);

    let t1 = share_above(survivors as f64, deaths as f64, 1.0 - DYING);
    let (t2, t3) = trends(&periods, dispersion);
    let going_on = going_on(sums, time, first, cut, &exposures, dispersion * as_one);
    let spread = spread(&periods, counted, dispersion);
    let enough = survivors + deaths >= settings.suspect_survivors;
    let of = |passes: bool, fails: bool| match (passes, fails) {
        (true, _) => Outcome::Passes,
        (_, true) if enough => Outcome::Fails,
        _ => Outcome::Open,
    };
    let spread_out = is_spread(&spread) && sums.once * 2 <= sums.live;
    let material = grown >= settings.suspect_survivors && rate.low > settings.floor;
    let tests = [
        (Test::OldOnesLive, of(t1 >= T1, t1 <= 0.5), Some(t1)),
        (
            Test::NotSlowing,
            of(
                t2 >= T2_T3 && going_on.is_some_and(|going_on| going_on >= GOING_ON),
                t2 <= 1.0 - T2_T3 || going_on.is_some_and(|going_on| going_on <= STOPPED),
            ),
            Some(t2),
        ),
        (Test::NotOnlyRecent, of(t3 >= T2_T3, t3 <= 1.0 - T2_T3), Some(t3)),
        (Test::Spread, of(spread_out, grown >= TELLING), None),
        (Test::Material, of(material, false), None),
    ]
    .map(|(test, outcome, probability)| Tested { test, outcome, probability });

    let passed = tests.iter().all(|tested| tested.outcome == Outcome::Passes);
    let enough_epochs = window_epochs >= settings.suspect_epochs && periods.len() >= FEWEST_PERIODS;
    // Rest is no evidence for a leak; against one it is.
    let enough_work = enough_epochs && busy.epochs >= settings.suspect_epochs;
    let passes = passed && enough_work && is_onset(sums, time, first, cut);
    // By what says most of the stack: dying first, then where growth was, then how it went.
    let order = [Test::OldOnesLive, Test::Spread, Test::NotSlowing, Test::NotOnlyRecent];
    let failed = order.into_iter().find(|test| tests[*test as usize].outcome == Outcome::Fails);
    let refuge = Refuge { sums, time, cut, age, deaths };
    let begin_ns = time.begin_ns(first);
    let window_ns = time.now_ns().saturating_sub(begin_ns);
    let (lost, events) =
        bins[first..].iter().fold((0, 0), |(lost, events), bin| (lost + bin.lost, events + bin.events));
    let early = periods.first().is_some_and(|period| period.count > LARGEST * counted);
    Some(Finding {
        passes,
        lacking: lacking(&tests, settings, grown, busy.epochs, rate, passes),
        failed: failed.filter(|_| enough_epochs || failed == Some(Test::OldOnesLive)),
        refuted: failed.is_some() && survivors + deaths >= TELLING && enough_epochs,
        stacks: sums.stacks,
        collapses: sums.collapses,
        early,
        evidence: Evidence {
            tests,
            onset,
            onset_ns: begin_ns,
            window_ns,
            window_epochs,
            busy_ns: busy.ns,
            busy_epochs: busy.epochs,
            older_than: settings.kind.age(age),
            survivors,
            survivor_bytes: sums.cells[..cut].iter().map(|cell| cell.bytes).sum(),
            deaths,
            deaths_at_most: (at_most(deaths as f64) / (survivors + deaths).max(1) as f64).min(1.0),
            grown,
            births: sums.births[first..cut].iter().sum(),
            rate,
            going_on,
            spread,
            confidence: confidence::of(settings, busy.ns, sums, survivors),
            cache_bytes: refuge.bytes(rate.bytes_per_s),
            deaths_to_refute: deaths_to_refute(survivors, deaths),
            unreachable: sums.unreachable,
            watched: sums.watched,
            verified: Verified::default(),
            lost,
            events,
            sampled: false,
        },
    })
}

/// Whether less stayed before than after.
fn is_onset(sums: &Sums, time: &Timeline, first: usize, cut: usize) -> bool {
    let rate = |from: usize, to: usize| {
        let epochs: u32 = time.bins()[from..to].iter().map(|bin| bin.epochs).sum();
        sums.births_of(from, to) / f64::from(epochs)
    };
    first == 0 || rate(0, first) <= BEFORE * rate(first, cut)
}

/// What each bin from `first` on had of the process's work, in which equally much of it is expected to stay: everything
/// that was allocated but what lives of this. By its own growth a cache would not be seen to slow down. Where there is
/// little else, the time that the process was at work.
fn exposures(sums: &Sums, time: &Timeline, first: usize) -> Vec<f64> {
    let bins = &time.bins()[first..];
    let others = bins.iter().zip(&sums.cells[first..]);
    let others: Vec<f64> = others.map(|(bin, cell)| (bin.work - cell.births).max(0.0)).collect();
    let (of_others, all) = (others.iter().sum::<f64>(), bins.iter().map(|bin| bin.work).sum::<f64>());
    if of_others >= FEW_OTHERS * bins.len() as f64 && of_others >= LITTLE * all {
        return others;
    }
    time.busy_parts(first).into_iter().map(|part| part.ns).collect()
}

/// How likely what lives of the births since `cut` is more than half of what lives of those in `first..cut`, for the
/// same work. None where there was next to none since: a cache that is full and a leak that nobody calls look the same
/// then.
fn going_on(
    sums: &Sums,
    time: &Timeline,
    first: usize,
    cut: usize,
    exposures: &[f64],
    dispersion: f64,
) -> Option<f64> {
    let bins = time.bins();
    if bins.len() == cut {
        // Unreachable blocks need not get old.
        return Some(1.0);
    }
    let (before, since) = exposures.split_at(cut - first);
    let (before, since): (f64, f64) = (before.iter().sum(), since.iter().sum());
    let count = |from: usize, to: usize| sums.births_of(from, to) / dispersion;
    let at = SLOWED * since / (SLOWED * since + before);
    let part = time.ns(cut, bins.len()) / time.ns(first, bins.len()).max(1.0);
    let works = since > IDLE * part * (since + before) && before > 0.0;
    works.then(|| share_above(count(cut, bins.len()), count(first, cut), at))
}

/// Survivors of births in `first..cut`, in at most eight periods of equal work. A bin belongs to the period of its
/// middle; a period that no bin is in is none. Of births, `as_one` say as much as one.
fn periods(sums: &Sums, first: usize, cut: usize, exposures: &[f64], as_one: f64) -> Vec<Period> {
    let exposures = &exposures[..cut - first];
    let all: f64 = exposures.iter().sum();
    let number = PERIODS.min(exposures.len());
    let mut periods: Vec<(usize, Period)> = Vec::with_capacity(number);
    let mut before = 0.0;
    for (exposure, cell) in exposures.iter().copied().zip(&sums.cells[first..cut]) {
        let middle = before + exposure / 2.0;
        before += exposure;
        let place = ((middle / all * number as f64) as usize).min(number - 1);
        let count = cell.births / as_one;
        match periods.last_mut() {
            Some((last, period)) if *last == place => {
                period.exposure += exposure;
                period.count += count;
            }
            _ => periods.push((place, Period { exposure, count })),
        }
    }
    periods.into_iter().map(|(_, period)| period).filter(|period| period.exposure > 0.0).collect()
}

/// How much more the periods vary than counts of chance do, by Pearson's chi squared: 1 at least, and at most so
/// much that eight objects are left of all.
fn dispersion(periods: &[Period], all: f64) -> f64 {
    let exposure: f64 = periods.iter().map(|period| period.exposure).sum();
    let expected = |period: &Period| all * period.exposure / exposure;
    if periods.len() < 2 || all == 0.0 {
        return 1.0;
    }
    let chi: f64 =
        periods.iter().map(|period| (period.count - expected(period)).powi(2) / expected(period)).sum();
    (chi / (periods.len() - 1) as f64).min(all / 8.0).max(1.0)
}

/// T2's and T3's probabilities.
fn trends(periods: &[Period], dispersion: f64) -> (f64, f64) {
    // Three of eight.
    let few = (periods.len() * 3).div_ceil(8);
    let sum = |periods: &[Period]| {
        periods.iter().fold((0.0, 0.0), |(count, exposure), period| {
            (count + period.count / dispersion, exposure + period.exposure)
        })
    };
    let (early, early_exposure) = sum(&periods[..few]);
    let (late, late_exposure) = sum(&periods[periods.len() - few..]);
    // Equal rates give late / (late + early) = exposure's share; a rate that is `part` of the other gives this.
    let share = |part: f64, mine: f64, other: f64| part * mine / (part * mine + other);
    (
        share_above(late, early, share(SLOWED, late_exposure, early_exposure)),
        share_above(early, late, share(RECENT, early_exposure, late_exposure)),
    )
}

fn spread(periods: &[Period], counted: f64, dispersion: f64) -> Spread {
    let largest = periods.iter().map(|period| period.count).fold(0.0, f64::max);
    Spread {
        filled: periods.iter().filter(|period| period.count > 0.0).count(),
        of: periods.len(),
        largest: if counted > 0.0 { largest / counted } else { 0.0 },
        dispersion,
    }
}

fn is_spread(spread: &Spread) -> bool {
    spread.filled as f64 >= FILLED * spread.of as f64 && spread.largest <= LARGEST
}

/// Of survivors born since the onset; the interval is of a sum of random many terms, each block one.
fn rate(sums: &Sums, time: &Timeline, first: usize, cut: usize, dispersion: f64) -> Rate {
    let ns = time.bins()[cut - 1].wall_ns.saturating_sub(time.begin_ns(first));
    let seconds = ns as f64 / 1e9;
    if seconds <= 0.0 {
        return Rate::default();
    }
    let cells = &sums.cells[first..cut];
    let bytes: f64 = cells.iter().map(|cell| cell.bytes).sum();
    let squares: f64 = cells.iter().map(|cell| cell.squares).sum();
    let error = QUANTILE * (squares * dispersion).sqrt();
    Rate {
        bytes_per_s: bytes / seconds,
        low: (bytes - error).max(0.0) / seconds,
        high: (bytes + error) / seconds,
    }
}

fn lacking(
    tests: &[Tested; 5],
    settings: &Settings,
    grown: u64,
    epochs: u32,
    rate: Rate,
    passes: bool,
) -> Option<Lacking> {
    if passes {
        return None;
    }
    let open = || tests.iter().find(|tested| tested.outcome != Outcome::Passes);
    Some(if grown < settings.suspect_survivors {
        Lacking::Survivors { seen: grown, needed: settings.suspect_survivors }
    } else if epochs < settings.suspect_epochs {
        Lacking::Epochs { seen: epochs, needed: settings.suspect_epochs }
    } else if rate.low <= settings.floor {
        Lacking::Rate { surely: rate.low, floor: settings.floor }
    } else {
        open().map_or(Lacking::Epochs { seen: epochs, needed: epochs + 1 }, |tested| Lacking::Decision {
            test: tested.test,
        })
    })
}

/// The least number of further deaths with which T1 does not pass any more.
fn deaths_to_refute(survivors: u64, deaths: u64) -> u64 {
    let passes = |more: u64| {
        let left = survivors.saturating_sub(more) as f64;
        share_above(left, (deaths + more) as f64, 1.0 - DYING) >= T1
    };
    let (mut low, mut high) = (0, survivors);
    while low < high {
        let middle = low.midpoint(high);
        if passes(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
