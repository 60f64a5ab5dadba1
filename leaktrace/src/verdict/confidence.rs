//! How sure a verdict is, and what a cache would have to be to look like it.

use super::{evidence::Confidence, probability::at_most, settings::Settings, sums::Sums, timeline::Timeline};

/// Growth that ends by itself is taken to last any time from a second to a week, each order of magnitude alike.
const SHORTEST_S: f64 = 1.0;
const LONGEST_S: f64 = 7.0 * 86_400.0;
/// Likelihood ratios. Provisional: to be calibrated on labelled runs.
const UNTOUCHED: f64 = 4.0;
const UNREACHABLE: f64 = 300.0;

pub(super) fn of(settings: &Settings, window_ns: u64, sums: &Sums, survivors: u64) -> Confidence {
    let seconds = (window_ns as f64 / 1e9).clamp(SHORTEST_S, LONGEST_S * 0.99);
    let lasts_longer = (LONGEST_S / seconds).ln() / (LONGEST_S / SHORTEST_S).ln();
    let untouched = sums.watched.blocks > 0 && sums.watched.touched == 0;
    // Some blocks that cannot be reached prove that some leak, not that all of this growth does.
    let unreachable = sums.unreachable.blocks * 2 >= survivors.max(1);
    let confidence = Confidence {
        probability: 0.0,
        prior_odds: settings.prior / (1.0 - settings.prior),
        for_window: 1.0 / lasts_longer,
        for_untouched: if untouched { UNTOUCHED } else { 1.0 },
        for_unreachable: if unreachable { UNREACHABLE } else { 1.0 },
    };
    let Confidence { prior_odds, for_window, for_untouched, for_unreachable, .. } = confidence;
    let odds = prior_odds * for_window * for_untouched * for_unreachable;
    Confidence { probability: odds / (1.0 + odds), ..confidence }
}

/// What is known of how long objects stay, if they do not stay for ever.
pub(super) struct Refuge<'a> {
    pub(super) sums: &'a Sums,
    pub(super) time: &'a Timeline,
    /// Bins of the survivors.
    pub(super) cut: usize,
    /// Survivors' least age, on the heap's clock.
    pub(super) age: u64,
    pub(super) deaths: u64,
}

impl Refuge<'_> {
    /// The least bytes that a cache filled at this rate (bytes per second) ends with: the rate over the highest
    /// rate of dying (per object and second) that so few deaths allow.
    pub(super) fn bytes(&self, rate: f64) -> f64 {
        let Self { sums, time, cut, age, deaths } = *self;
        let now = time.now_ns();
        let born = |bin: usize| time.begin_ns(bin).midpoint(time.bins()[bin].wall_ns);
        // The age in time: on a clock of collections, how long ago the survivors' last bin ended.
        let young = now.saturating_sub(time.bins()[cut - 1].wall_ns).max(u64::from(age > 0));
        let seconds: f64 = (0..cut)
            .map(|bin| {
                let watched = now.saturating_sub(born(bin)).saturating_sub(young);
                sums.cells[bin].count as f64 * watched as f64 / 1e9
            })
            .sum();
        rate * seconds / at_most(deaths as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn percent(hours: f64, sums: &Sums) -> u64 {
        let of = of(&Settings::native(Duration::from_secs(30)), (hours * 3600e9) as u64, sums, 100);
        (of.probability * 100.0).round() as u64
    }

    #[test]
    fn growth_alone_says_what_the_length_of_the_look_allows() {
        let bare = Sums::default();
        assert_eq!([0.25, 1.0, 24.0].map(|hours| percent(hours, &bare)), [47, 53, 75]);
        assert!(percent(1000.0, &bare) <= 100);
    }

    #[test]
    fn further_evidence_multiplies_the_odds() {
        let mut sums = Sums::default();
        sums.watched.blocks = 4;
        assert_eq!(percent(1.0, &sums), 82);
        sums.watched.touched = 1;
        assert_eq!(percent(1.0, &sums), 53);
        sums.unreachable.blocks = 100;
        assert_eq!(percent(1.0, &sums), 100);
        sums.unreachable.blocks = 10;
        assert_eq!(percent(1.0, &sums), 53, "some unreachable blocks are not this growth");
    }
}
