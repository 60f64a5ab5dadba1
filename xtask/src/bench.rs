//! `cargo xtask bench`: what tracing costs, a file for each kind of heap.

mod crowd;
mod javascript;
mod pairs;
mod peers;
mod programs;
mod spread;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    checkout::Checkout,
    command::{plain, run as run_command},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure a JavaScript heap in node instead of malloc and free
    #[arg(long)]
    javascript: bool,
    /// Measure real programs at work, and whether a small leak in them is found
    #[arg(long, conflicts_with = "javascript")]
    programs: bool,
    /// Measure a machine full of services, as a whole
    #[arg(long, conflicts_with_all = ["javascript", "programs"])]
    crowd: bool,
    /// Measure this leaktrace instead of building one in release mode
    #[arg(long)]
    bin: Option<String>,
    /// A short look: two rounds, and short turns
    #[arg(long)]
    quick: bool,
    /// How often each way is measured: 7, of JavaScript 20, of programs 6 unless given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of a turn of --programs (24, quickly 8), with leaktrace judging at 72 epochs of a 96th of it; of --crowd (180,
    /// quickly 30)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    #[command(flatten)]
    pairs: pairs::Args,
    #[command(flatten)]
    of_javascript: javascript::Args,
    #[command(flatten)]
    of_programs: programs::Args,
    #[command(flatten)]
    of_crowd: crowd::Args,
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
    let folder = checkout.target().join("bench");
    let rounds = |usual| args.rounds.unwrap_or(if args.quick { 2 } else { usual });
    let seconds = |usual, quick| args.seconds.unwrap_or(if args.quick { quick } else { usual });
    if args.javascript {
        let outcome = javascript::run(&bin, &args.of_javascript, rounds(20))?;
        keep(&folder.join("javascript"), &outcome, &outcome.markdown())
    } else if args.programs {
        let outcome = programs::run(checkout, &bin, &args.of_programs, seconds(24, 8), rounds(6))?;
        keep(&folder.join("programs"), &outcome, &outcome.markdown())
    } else if args.crowd {
        let outcome = crowd::run(&bin, &args.of_crowd, seconds(180, 30))?;
        keep(&folder.join("crowd"), &outcome, &outcome.markdown())
    } else {
        let outcome = pairs::run(&bin, &args.pairs, rounds(7))?;
        keep(&folder.join("pairs"), &outcome, &outcome.markdown())
    }
}

/// As JSON and as a table, which is shown too.
fn keep(path: &Path, outcome: &impl Serialize, table: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    let json: PathBuf = path.with_extension("json");
    fs::write(&json, serde_json::to_string_pretty(outcome)? + "\n")?;
    fs::write(path.with_extension("md"), table)?;
    print!("{table}");
    eprintln!("written to {} and a .md beside it", json.display());
    Ok(())
}

/// What a table is of.
#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    cpu: String,
    cpus: usize,
}

impl Machine {
    fn this() -> Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo")?;
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cpus: std::thread::available_parallelism()?.get(),
        })
    }

    fn text(&self) -> String {
        let Self { kernel, cpu, cpus } = self;
        format!("Linux {kernel}, {cpus} CPUs of an {cpu}")
    }
}
