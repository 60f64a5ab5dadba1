//! Numbers of several rounds, and how they are shown.

use std::fmt::Write;

use serde::Serialize;

use super::Outcome;

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

    fn show(&self, digits: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

pub(super) fn markdown(outcome: &Outcome) -> String {
    let Outcome { rounds, pairs, kernel, cpu, rows } = outcome;
    let mut text =
        String::from("| threads | way | ns per pair | times bare | added ns |\n|---|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.threads,
            row.label,
            row.ns_per_pair.show(0),
            row.ratio_to_bare.show(1),
            row.added_ns.show(0)
        );
    }
    let _ = writeln!(
        text,
        "\nMedian (least-most) of {rounds} rounds that take turns, {pairs} pairs of malloc and free per thread, \
         thread CPU time; Linux {kernel}, {cpu}."
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0, 2.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(vec![9.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
    }
}
