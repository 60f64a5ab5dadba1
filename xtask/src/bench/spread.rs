//! Numbers of several rounds.

use serde::Serialize;

/// Several measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    pub(super) fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let median = match numbers.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
            _ => numbers[middle],
        };
        let end = |number: Option<&f64>| number.copied().unwrap_or(f64::NAN);
        Self { median, min: end(numbers.first()), max: end(numbers.last()) }
    }

    pub(super) fn show(&self, digits: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

/// A median and the interval that holds the true one in at least 95 of 100 such series, whatever the distribution:
/// between the numbers of these ranks. With fewer than six numbers there is none, and least and most are told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Interval {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// 0.95 or more, less with fewer than six numbers.
    pub coverage: f64,
}

impl Interval {
    /// None of no number.
    pub(super) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (rank, coverage) = rank(numbers.len());
        let low = *numbers.get(rank)?;
        let high = *numbers.get(numbers.len() - 1 - rank)?;
        Some(Self { median: Spread::of(numbers).median, low, high, coverage })
    }

    /// In another unit.
    pub(super) fn times(self, factor: f64) -> Self {
        let Self { median, low, high, coverage } = self;
        Self { median: median * factor, low: low * factor, high: high * factor, coverage }
    }

    pub(super) fn show(&self, digits: usize) -> String {
        let Self { median, low, high, coverage } = self;
        let short =
            if *coverage < 0.95 { format!(", only {:.0} %", coverage * 100.0) } else { String::new() };
        format!("{median:.digits$} [{low:.digits$}-{high:.digits$}{short}]")
    }
}

/// How many numbers to leave out at either end, and how often the median of all is between what is left: each number is
/// below it as a coin falls.
fn rank(count: usize) -> (usize, f64) {
    let mut term = 0.5_f64.powf(count as f64);
    let mut below = term;
    let mut found = (0, 1.0 - 2.0 * below);
    for rank in 1..=count / 2 {
        term *= (count - rank + 1) as f64 / rank as f64;
        below += term;
        if 1.0 - 2.0 * below < 0.95 {
            break;
        }
        found = (rank, 1.0 - 2.0 * below);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0, 2.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(vec![9.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_the_sign_test() {
        // From tables: of 6 numbers least and most, of 10 the second and ninth, of 20 the sixth and fifteenth.
        for (count, out, coverage) in [(6, 0, 0.969), (10, 1, 0.979), (20, 5, 0.959)] {
            let (rank, found) = rank(count);
            assert_eq!(rank, out, "{count}");
            assert!((found - coverage).abs() < 0.001, "{count}: {found}");
        }
        let numbers = (1..=10).map(f64::from).collect();
        let interval = Interval::of(numbers).unwrap();
        assert_eq!((interval.median, interval.low, interval.high), (5.5, 2.0, 9.0));
    }

    #[test]
    fn too_few_numbers_are_said_to_be_too_few() {
        assert_eq!(Interval::of(vec![1.0, 2.0, 3.0]).unwrap().show(1), "2.0 [1.0-3.0, only 75 %]");
        assert_eq!(Interval::of(Vec::new()), None);
    }
}
