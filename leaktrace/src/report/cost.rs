//! What tracing took of the traced processes' time, and how it was kept within a budget.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::amount::counted;

/// Of native memory; JavaScript's samples take next to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Part of the processes' own CPU time that it may take; none with `--exact`.
    pub budget: Option<f64>,
    /// Part that it took.
    pub share: f64,
    /// Nanoseconds of CPU time that it took, and those that the processes took for themselves.
    #[serde(default)]
    pub spent_ns: u64,
    #[serde(default)]
    pub own_ns: u64,
    /// How often a probe was hit, and what a hit took.
    pub hits: u64,
    pub hit_ns: u64,
    /// How often native memory was not watched, to keep to the budget.
    pub pauses: u64,
    /// Part of the time in which it was watched: 1 without pauses.
    pub watched: f64,
    /// Why it was watched all the same, though that took more.
    pub over_budget: Option<String>,
}

/// Of less work no share is told: to begin costs some of it, which says nothing of what is to come.
const SHARE_OF: u64 = 1_000_000_000;

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, share, spent_ns, own_ns, hits: _, hit_ns, pauses, watched, over_budget } = self;
        let percent = |part: f64| match 100.0 * part {
            part if part < 0.05 => "under 0.1 %".to_owned(),
            part if part < 9.95 => format!("{part:.1} %"),
            part => format!("{part:.0} %"),
        };
        if *spent_ns > 0 && *own_ns < SHARE_OF {
            let [spent, own] = [*spent_ns, *own_ns].map(|ns| ns as f64 / 1e9);
            write!(out, "cost: {spent:.3} s of CPU time, where what is traced took {own:.3} s for itself")?;
        } else {
            write!(out, "cost: {} of the CPU time of what is traced", percent(*share))?;
        }
        if *hit_ns > 0 {
            write!(out, ", {:.1} µs a probe's hit", *hit_ns as f64 / 1e3)?;
        }
        if let Some(budget) = budget {
            write!(out, " (budget {})", percent(*budget))?;
        }
        if let Some(because) = over_budget {
            write!(out, "\n  over budget, and followed all the same: {because}")?;
        }
        if *pauses > 0 {
            write!(
                out,
                "\n  to keep to that, native memory was watched in {}, {} of the time: bytes and blocks live are estimates \
                 by what was born then,\n  and allocations and frees those that were seen",
                counted(pauses + 1, "window"),
                percent(*watched)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_it_took_and_how_it_was_kept_to() {
        let cost = Cost {
            budget: Some(0.05),
            share: 0.0312,
            spent_ns: 31_200_000_000,
            own_ns: 1_000_000_000_000,
            hits: 1000,
            hit_ns: 2440,
            pauses: 0,
            watched: 1.0,
            over_budget: None,
        };
        insta::assert_snapshot!(cost, @"cost: 3.1 % of the CPU time of what is traced, 2.4 µs a probe's hit (budget 5.0 %)");
        let exact = Cost { budget: None, share: 0.42, ..cost.clone() };
        insta::assert_snapshot!(exact, @"cost: 42 % of the CPU time of what is traced, 2.4 µs a probe's hit");
        let short = Cost { share: 4.0, spent_ns: 21_000_000, own_ns: 5_250_000, ..cost.clone() };
        insta::assert_snapshot!(short, @"cost: 0.021 s of CPU time, where what is traced took 0.005 s for itself, 2.4 µs a probe's hit (budget 5.0 %)");
        let windows = Cost { pauses: 11, watched: 0.042, ..cost.clone() };
        insta::assert_snapshot!(windows);
        let over =
            Cost { share: 0.3, over_budget: Some("it has an allocator of its own".to_owned()), ..cost };
        insta::assert_snapshot!(over);
    }
}
