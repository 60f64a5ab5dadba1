//! What an unwind costs on top of a bare probe hit, beside `bpf_get_stackid` of the same stack in the same run, and how
//! long the tables of node take.
//!
//! cost [--check] [CALLS [ROUNDS]]
//!
//! Of each way the least batch of 1000 calls counts: what else the machine does only ever adds. With `--check` a ratio or
//! time over its limit is measured again, up to [`TRIES`] times with all batches together, and fails if it stays there.

use std::{
    io::Read,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use leaktrace_common::{counter::Counter, process::ProcessId};
use tests_unwind::{
    kernel::Kernel,
    programs, tables,
    tracee::{State, Tracee},
};

const PROGRAMS: [&str; 3] = ["cost_nothing", "cost_unwind", "cost_stackid"];
/// Frames of the benchmark that are not its recursion: its leaf, main, and three of the C library's start.
const OTHER_FRAMES: u32 = 6;
/// Numbers of frames, and how many times the kernel's own walk by frame pointers ours may cost.
const LIMITS: [(u32, f64); 3] = [(11, 1.0), (30, 1.5), (60, 1.5)];
const TABLES_LIMIT: Duration = Duration::from_millis(500);
const TRIES: u32 = 5;

/// Nanoseconds of a call: the least batch, and the least mean of a run.
type Times = (f64, f64);

struct Bench {
    kernel: Kernel,
    program: std::path::PathBuf,
    calls: u32,
    rounds: u32,
    next_id: u32,
}

fn main() -> Result<ExitCode> {
    let (flags, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let check = flags.iter().any(|flag| flag == "--check");
    let mut words = words.iter().map(|word| word.parse::<u32>());
    let calls = words.next().transpose()?.unwrap_or(300_000);
    let rounds = words.next().transpose()?.unwrap_or(5);
    let program = programs::build("bench.c", &[])?;
    let kernel = Kernel::load(&programs::object()?)?;
    let mut bench = Bench { kernel, program, calls, rounds, next_id: 1 };
    println!(
        "nanoseconds on top of a bare hit: by the least batch of 1000 calls, and by the mean of the best run"
    );
    println!(
        "{:>6} {:>10} {:>18} {:>18} {:>7} {:>7}",
        "frames", "bare hit", "leaktrace", "bpf_get_stackid", "ratio", "limit"
    );
    let mut failed = false;
    for (frames, limit) in LIMITS {
        let mut best = [(f64::MAX, f64::MAX); 3];
        let is_over = (0..if check { TRIES } else { 1 }).all(|_| {
            bench.measure(frames, &mut best).map_or_else(
                |error| {
                    println!("{frames:6} {error:#}");
                    true
                },
                |ratio| {
                    show(frames, best, ratio, limit);
                    ratio > limit
                },
            )
        });
        failed |= is_over;
    }
    failed |= !tables_of_node(check)?;
    for counter in Counter::ALL.iter().filter(|counter| **counter != Counter::Nested) {
        let count = bench.kernel.counter(*counter)?;
        if count > 0 {
            println!("{}: {count}", counter.label());
        }
    }
    if !check {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", if failed { "over the limit" } else { "within the limits" });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(frames: u32, [bare, ours, theirs]: [Times; 3], ratio: f64, limit: f64) {
    let over = |(least, mean): Times| format!("{:.0} ({:.0})", least - bare.0, mean - bare.1);
    println!("{frames:6} {:10.0} {:>18} {:>18} {ratio:7.2} {limit:7.2}", bare.0, over(ours), over(theirs));
}

/// Whether they are made in time.
fn tables_of_node(check: bool) -> Result<bool> {
    let Some(node) = programs::node() else {
        println!("skipped: no node whose tables could be made");
        return Ok(!check || !programs::may_not_skip());
    };
    let mut best = Duration::MAX;
    for _ in 0..if check { TRIES } else { 1 } {
        let made = tables::make(&node)?;
        best = best.min(made.busy);
        println!(
            "tables of {}: {} rows, {} KiB, made in {:?}, {:?} on a CPU, limit {TABLES_LIMIT:?}",
            node.display(),
            made.rows,
            made.bytes / 1024,
            made.took,
            made.busy
        );
        if best <= TABLES_LIMIT {
            break;
        }
    }
    Ok(best <= TABLES_LIMIT)
}

impl Bench {
    /// Adds some rounds, and returns how many times what the kernel's walk costs ours does by then.
    fn measure(&mut self, frames: u32, best: &mut [Times; 3]) -> Result<f64> {
        // In turn, so that a busy moment of the machine meets all three.
        for _ in 0..self.rounds {
            for (program, best) in PROGRAMS.into_iter().zip(&mut *best) {
                self.kernel.attach(program, "target", &self.program)?;
                let id = ProcessId(self.next_id);
                self.next_id += 1;
                let (least, mean) = run(&mut self.kernel, &self.program, frames, self.calls, id)?;
                self.kernel.detach(program)?;
                *best = (best.0.min(least), best.1.min(mean));
            }
        }
        let [bare, ours, theirs] = *best;
        Ok((ours.0 - bare.0) / (theirs.0 - bare.0))
    }
}

fn run(kernel: &mut Kernel, bench: &Path, frames: u32, calls: u32, id: ProcessId) -> Result<Times> {
    let depth = frames.saturating_sub(OTHER_FRAMES).to_string();
    let mut command = Command::new(bench);
    let mut tracee = Tracee::start(command.args([depth, calls.to_string()]).stdout(Stdio::piped()), id)?;
    ensure!(tracee.wait_stopped()? == State::Stopped, "the benchmark did not stop for its tables");
    tracee.update_and_continue(kernel)?;
    let mut said = String::new();
    tracee.child.stdout.take().context("no output")?.read_to_string(&mut said)?;
    tracee.wait_stopped()?;
    kernel.tables.remove(id, tracee.now())?;
    let (least, mean) = said.trim().split_once(' ').with_context(|| format!("it said {said:?}"))?;
    Ok((least.parse()?, mean.parse()?))
}
