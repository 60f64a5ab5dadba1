//! `cargo xtask bench`: what tracing costs per pair of malloc and free.
//!
//! Three ways take turns within each round, so that a machine that gets slower does so for all of them:
//! bare; leaktrace; leaktrace with its probes at the functions' entries, where bcc's memleak puts them (free
//! begins with an instruction that the kernel has to single-step). Times are CPU time of the program's threads.

mod table;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tests_kernel::{Agent, Program, compile::Compiler};

use crate::{
    checkout::Checkout,
    command::{plain, run as run_command},
};
use table::{Spread, markdown};

const PROGRAM: &str = "bench_pairs.c";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each way is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Pairs of malloc and free per thread and measurement
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pairs: u32,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<u32>,
    /// Measure this leaktrace instead of building one in release mode
    #[arg(long)]
    bin: Option<String>,
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
struct Outcome {
    rounds: u32,
    pairs: u32,
    kernel: String,
    cpu: String,
    rows: Vec<Row>,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    tests_kernel::needs_root();
    let bin = match &args.bin {
        Some(bin) => checkout.path(bin),
        None => {
            run_command(plain("cargo", checkout).args(["build", "--release", "--package", "leaktrace"]))?;
            checkout.target().join("release/leaktrace")
        }
    };
    if !bin.exists() {
        bail!("no leaktrace at {}: `cargo build --release -p leaktrace` builds one", bin.display());
    }

    let mut rows = Vec::new();
    for threads in &args.threads {
        rows.extend(measure(&bin, args, *threads)?);
    }
    let outcome = Outcome { rounds: args.rounds, pairs: args.pairs, kernel: kernel()?, cpu: cpu()?, rows };
    let folder = checkout.target().join("bench");
    fs::create_dir_all(&folder)?;
    let json = folder.join("pairs.json");
    fs::write(&json, serde_json::to_string_pretty(&outcome)? + "\n")?;
    let text = markdown(&outcome);
    fs::write(folder.join("pairs.md"), &text)?;
    print!("{text}");
    eprintln!("written to {} and pairs.md beside it", json.display());
    Ok(())
}

fn measure(bin: &Path, args: &Args, threads: u32) -> Result<Vec<Row>> {
    let mut measured: [Vec<f64>; 3] = Default::default();
    for round in 0..args.rounds {
        for (way, times) in Way::ALL.into_iter().zip(&mut measured) {
            let ns = once(bin, way, threads, args.pairs)
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

fn kernel() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

fn cpu() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()))
}
