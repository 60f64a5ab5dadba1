//! What was measured, as numbers and as a table.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{Turn, Way, workload::Workload};
use crate::bench::{Machine, spread::Interval};

#[derive(Debug, Serialize)]
pub(in crate::bench) struct Outcome {
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    /// Programs that this machine has not.
    pub(super) left_out: Vec<String>,
    pub(super) machine: Machine,
    pub(super) rows: Vec<Row>,
}

/// One program, one way; numbers a round.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    program: &'static str,
    way: &'static str,
    unit: &'static str,
    /// CPU time of the program.
    microseconds_per_unit: Interval,
    /// Of each turn against the bare ones beside it.
    times_bare: Option<Interval>,
    p99_ms: Option<Interval>,
    /// The tool's own CPU time, as a part of the program's.
    own: Option<Interval>,
    /// What the leak was called, each round, and events lost.
    leak: Vec<String>,
    lost: u64,
}

#[derive(Default)]
struct Numbers {
    unit: &'static str,
    per_unit: Vec<f64>,
    ratio: Vec<f64>,
    p99: Vec<f64>,
    own: Vec<f64>,
    leak: Vec<String>,
    lost: u64,
}

/// By program and way, in the order in which they came.
#[derive(Default)]
pub(super) struct Measured {
    order: Vec<(&'static str, &'static str)>,
    numbers: BTreeMap<(&'static str, &'static str), Numbers>,
}

const BARE: &str = "bare";

impl Measured {
    fn of(&mut self, program: &'static str, way: &'static str) -> &mut Numbers {
        if !self.numbers.contains_key(&(program, way)) {
            self.order.push((program, way));
        }
        self.numbers.entry((program, way)).or_default()
    }

    pub(super) fn add(&mut self, workload: &Workload, way: &'static str, turn: Turn, bare: &[Turn]) {
        let per_unit = |turn: &Turn| turn.program / turn.units;
        let mean = bare.iter().map(per_unit).sum::<f64>() / bare.len() as f64;
        let numbers = self.of(workload.name, way);
        numbers.unit = workload.unit;
        numbers.per_unit.push(per_unit(&turn) * 1e6);
        numbers.p99.extend(turn.p99.map(|seconds| seconds * 1e3));
        if way != BARE {
            numbers.ratio.push(per_unit(&turn) / mean);
            numbers.own.push(turn.tool / turn.program);
        }
    }

    /// Ways that each lie between two bare turns.
    pub(super) fn add_turns(&mut self, workload: &Workload, ways: &[Way], turns: &[Turn]) {
        for (at, way) in ways.iter().enumerate() {
            let label = if let Way::Leaktrace(label, _) = way { *label } else { BARE };
            let beside = [turns[at.saturating_sub(1)], turns[(at + 1).min(turns.len() - 1)]];
            self.add(workload, label, turns[at], &beside);
        }
    }

    pub(super) fn found(&mut self, program: &'static str, way: &'static str, leak: String, lost: u64) {
        let numbers = self.of(program, way);
        numbers.leak.push(leak);
        numbers.lost += lost;
    }

    /// The newest ratios of a program, in a line.
    pub(super) fn last(&self, program: &str) -> String {
        let own = self.order.iter().filter(|(name, _)| *name == program);
        let shown = own.filter_map(|key| {
            let numbers = self.numbers.get(key)?;
            let leak = numbers.leak.last().map_or_else(String::new, |leak| format!(" ({leak})"));
            Some(format!("{} {:.3}{leak}", key.1, numbers.ratio.last()?))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn rows(mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in &self.order {
            let Some(numbers) = self.numbers.remove(key) else { continue };
            let Numbers { unit, per_unit, ratio, p99, own, leak, lost } = numbers;
            let Some(microseconds_per_unit) = Interval::of(per_unit) else { continue };
            let (program, way) = *key;
            let (times_bare, p99_ms, own) = (Interval::of(ratio), Interval::of(p99), Interval::of(own));
            rows.push(Row { program, way, unit, microseconds_per_unit, times_bare, p99_ms, own, leak, lost });
        }
        // A program's bare row first, whatever came first.
        rows.sort_by_key(|row| {
            let first = self.order.iter().position(|(program, _)| *program == row.program);
            (first, row.way != BARE)
        });
        rows
    }
}

impl Outcome {
    pub(in crate::bench) fn markdown(&self) -> String {
        let Self { rounds, seconds, left_out, machine, rows } = self;
        let mut text = String::from(
            "| program (unit) | way | CPU µs a unit | times bare | p99 ms | the tool's own CPU | lost | leak |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        let shown = |interval: &Option<Interval>, digits, factor: f64| {
            interval.map_or_else(|| "-".to_owned(), |interval| interval.times(factor).show(digits))
        };
        for row in rows {
            let _ = writeln!(
                text,
                "| {} ({}) | {} | {} | {} | {} | {} | {} | {} |",
                row.program,
                row.unit,
                row.way,
                row.microseconds_per_unit.show(1),
                shown(&row.times_bare, 3, 1.0),
                shown(&row.p99_ms, 2, 1.0),
                row.own.map_or_else(|| "-".to_owned(), |own| format!("{} %", own.times(100.0).show(1))),
                row.lost,
                row.leak.join(", ")
            );
        }
        let _ = writeln!(
            text,
            "\nMedian [95 % interval of the median, or least-most of few] of {rounds} rounds, turns of {seconds} s in one \
             process; 64 bytes leak every 20 ms. {}.",
            machine.text()
        );
        for program in left_out {
            let _ = writeln!(text, "Not measured: {program}.");
        }
        text
    }
}
