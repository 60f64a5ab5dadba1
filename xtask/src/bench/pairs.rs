//! What tracing costs per pair of malloc and free.
//!
//! Three ways take turns within each round, so that a machine that gets slower does so for all of them:
//! bare; leaktrace; leaktrace with its probes at the functions' entries, where bcc's memleak puts them (free
//! begins with an instruction that the kernel has to single-step). Times are CPU time of the program's threads.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tests_kernel::{Agent, Program, compile::Compiler};

use super::{Machine, spread::Spread};

const PROGRAM: &str = "bench_pairs.c";

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Pairs of malloc and free per thread and measurement
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pairs: u32,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Bare,
    Leaktrace,
    ProbeAtEntry,
}

impl Way {
    const ALL: [Self; 3] = [Self::Bare, Self::Leaktrace, Self::ProbeAtEntry];

    fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Leaktrace => "leaktrace",
            Self::ProbeAtEntry => "probes at entries (bcc memleak's way)",
        }
    }

    fn flags(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Bare => None,
            Self::Leaktrace => Some(&[]),
            Self::ProbeAtEntry => Some(&["--probe-at-entry"]),
        }
    }
}

/// One way with one number of threads.
#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    label: &'static str,
    threads: u32,
    ns_per_pair: Spread,
    /// Of each round against the bare run of the same round.
    ratio_to_bare: Spread,
    /// Nanoseconds that tracing adds, paired the same way.
    added_ns: Spread,
}

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    rounds: u32,
    pairs: u32,
    machine: Machine,
    rows: Vec<Row>,
}

pub(super) fn run(bin: &Path, args: &Args, rounds: u32) -> Result<Outcome> {
    let mut rows = Vec::new();
    for threads in &args.threads {
        rows.extend(measure(bin, args.pairs, rounds, *threads)?);
    }
    Ok(Outcome { rounds, pairs: args.pairs, machine: Machine::this()?, rows })
}

fn measure(bin: &Path, pairs: u32, rounds: u32, threads: u32) -> Result<Vec<Row>> {
    let mut measured: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        for (way, times) in Way::ALL.into_iter().zip(&mut measured) {
            let ns = once(bin, way, threads, pairs)
                .with_context(|| format!("round {} of {}", round + 1, way.label()))?;
            eprintln!("{threads} thread(s), round {}: {} {ns:.0} ns", round + 1, way.label());
            times.push(ns);
        }
    }
    let bare = measured[0].clone();
    let row = |(way, times): (Way, Vec<f64>)| {
        let paired = |with: fn(f64, f64) -> f64| {
            Spread::of(times.iter().zip(&bare).map(|(time, bare)| with(*time, *bare)).collect())
        };
        Row {
            way,
            label: way.label(),
            threads,
            ratio_to_bare: paired(|time, bare| time / bare),
            added_ns: paired(|time, bare| time - bare),
            ns_per_pair: Spread::of(times.clone()),
        }
    };
    Ok(Way::ALL.into_iter().zip(measured).map(row).collect())
}

/// Nanoseconds a pair.
fn once(bin: &Path, way: Way, threads: u32, pairs: u32) -> Result<f64> {
    let arguments = [threads.to_string(), pairs.to_string()];
    let mut program = Program::start(PROGRAM, Compiler::Gcc, &arguments.each_ref().map(String::as_str))?;
    let agent = way.flags().map(|flags| Agent::attach_with(bin, &[program.pid()], flags)).transpose()?;
    program.work()?;
    if let Some(agent) = agent {
        let seen = agent.stop()?.totals.allocs;
        let expected = u64::from(threads) * u64::from(pairs);
        // A fast way that misses events is not fast.
        if seen < expected {
            bail!("only {seen} of {expected} allocations were recorded: the time says nothing");
        }
    }
    program.end()?;
    program.truth.other.iter().find_map(|line| line.get("ns_per_pair")?.as_f64()).context("no time was told")
}

impl Outcome {
    pub(super) fn markdown(&self) -> String {
        let Self { rounds, pairs, machine, rows } = self;
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
             thread CPU time; {}.",
            machine.text()
        );
        text
    }
}
