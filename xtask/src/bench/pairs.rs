//! What tracing costs per pair of malloc and free.
//!
//! The ways take turns within each round, so that a machine that gets slower does so for all of them: bare; leaktrace
//! as it follows each call, and by its budget; leaktrace with its probes at the functions' entries, where bcc's memleak puts
//! them (free begins with an instruction that the kernel has to single-step); and the tools that the machine has of those in
//! [`super::peers`]. Times are CPU time of the program's threads.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tests_kernel::{Agent, Program, compile::Compiler};

use super::{
    Machine,
    peers::{self, Peer},
    spread::Spread,
};

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

#[derive(Clone, Copy)]
enum Way {
    Bare,
    Leaktrace { label: &'static str, flags: &'static [&'static str] },
    Peer(&'static Peer),
}

const OWN: [Way; 4] = [
    Way::Bare,
    Way::Leaktrace { label: "leaktrace --exact", flags: &["--exact"] },
    Way::Leaktrace { label: "leaktrace --budget 5%", flags: &["--budget", "5%"] },
    Way::Leaktrace {
        label: "probes at entries (bcc memleak's way)",
        flags: &["--exact", "--probe-at-entry"],
    },
];

impl Way {
    fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Leaktrace { label, .. } => label,
            Self::Peer(peer) => peer.label,
        }
    }
}

/// One way with one number of threads.
#[derive(Debug, Serialize)]
struct Row {
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
    /// Tools that this machine has not, and why others do not run on it.
    left_out: Vec<String>,
    machine: Machine,
    rows: Vec<Row>,
}

pub(super) fn run(bin: &Path, args: &Args, rounds: u32) -> Result<Outcome> {
    let (found, left_out) = peers::on_this_machine();
    let ways: Vec<Way> = OWN.into_iter().chain(found.into_iter().map(Way::Peer)).collect();
    let mut rows = Vec::new();
    for threads in &args.threads {
        rows.extend(measure(bin, args.pairs, rounds, *threads, &ways)?);
    }
    Ok(Outcome { rounds, pairs: args.pairs, left_out, machine: Machine::this()?, rows })
}

fn measure(bin: &Path, pairs: u32, rounds: u32, threads: u32, ways: &[Way]) -> Result<Vec<Row>> {
    let mut measured: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for (way, times) in ways.iter().copied().zip(&mut measured) {
            let ns = once(bin, way, threads, pairs)
                .with_context(|| format!("round {} of {}", round + 1, way.label()))?;
            eprintln!("{threads} thread(s), round {}: {} {ns:.0} ns", round + 1, way.label());
            times.push(ns);
        }
    }
    let bare = measured[0].clone();
    let row = |(way, times): (&Way, Vec<f64>)| {
        let paired = |with: fn(f64, f64) -> f64| {
            Spread::of(times.iter().zip(&bare).map(|(time, bare)| with(*time, *bare)).collect())
        };
        Row {
            label: way.label(),
            threads,
            ratio_to_bare: paired(|time, bare| time / bare),
            added_ns: paired(|time, bare| time - bare),
            ns_per_pair: Spread::of(times.clone()),
        }
    };
    Ok(ways.iter().zip(measured).map(row).collect())
}

/// Nanoseconds a pair.
fn once(bin: &Path, way: Way, threads: u32, pairs: u32) -> Result<f64> {
    let arguments = [threads.to_string(), pairs.to_string()];
    let arguments = arguments.each_ref().map(String::as_str);
    let mut program = match way {
        Way::Peer(peer) => peer.start(PROGRAM, &arguments)?,
        _ => Program::start(PROGRAM, Compiler::Gcc, &arguments)?,
    };
    match way {
        Way::Bare => program.work()?,
        Way::Peer(peer) => peer.around(&mut program)?,
        Way::Leaktrace { flags, .. } => {
            let agent = Agent::attach_with(bin, &[program.pid()], flags)?;
            program.work()?;
            let seen = agent.stop()?.totals.allocs;
            let expected = u64::from(threads) * u64::from(pairs);
            // A fast way that misses events is not fast, unless it says that it watches part of the time.
            if flags.contains(&"--exact") && seen < expected {
                bail!("only {seen} of {expected} allocations were recorded: the time says nothing");
            }
        }
    }
    program.end()?;
    program.truth.other.iter().find_map(|line| line.get("ns_per_pair")?.as_f64()).context("no time was told")
}

impl Outcome {
    pub(super) fn markdown(&self) -> String {
        let Self { rounds, pairs, left_out, machine, rows } = self;
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
        for tool in left_out {
            let _ = writeln!(text, "Not measured: {tool}.");
        }
        text
    }
}
