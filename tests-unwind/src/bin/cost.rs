//! What an unwind costs on top of a bare probe hit, beside `bpf_get_stackid` of the same stack in the same run.
//!
//! cost [CALLS [ROUNDS]]

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
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

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let calls = words.next().transpose()?.unwrap_or(300_000);
    let rounds = words.next().transpose()?.unwrap_or(5);
    let bench = programs::build("bench.c", &[])?;
    let mut kernel = Kernel::load(&programs::object()?)?;
    let mut next_id = 1;
    println!(
        "nanoseconds on top of a bare hit: the least batch of 1000 calls, and the mean of the best round"
    );
    println!(
        "{:>6} {:>10} {:>18} {:>18} {:>7}",
        "frames", "bare hit", "leaktrace", "bpf_get_stackid", "ratio"
    );
    for frames in [11, 30, 60] {
        let mut best = [(f64::MAX, f64::MAX); 3];
        // In turn, so that a busy moment of the machine meets all three.
        for _ in 0..rounds {
            for (program, best) in PROGRAMS.into_iter().zip(&mut best) {
                kernel.attach(program, "target", &bench)?;
                let (least, mean) = run(&mut kernel, &bench, frames, calls, ProcessId(next_id))?;
                next_id += 1;
                kernel.detach(program)?;
                *best = (best.0.min(least), best.1.min(mean));
            }
        }
        let [bare, ours, theirs] = best;
        let over = |(least, mean): (f64, f64)| format!("{:.0} ({:.0})", least - bare.0, mean - bare.1);
        let ratio = (ours.0 - bare.0) / (theirs.0 - bare.0);
        println!("{frames:6} {:10.0} {:>18} {:>18} {ratio:7.2}", bare.0, over(ours), over(theirs));
    }
    if let Some(node) = programs::installed("node") {
        let tables = tables::make(&node)?;
        println!(
            "tables of {}: {} rows, {} KiB, made in {:?}",
            node.display(),
            tables.rows,
            tables.bytes / 1024,
            tables.took
        );
    }
    for counter in Counter::ALL.iter().filter(|counter| **counter != Counter::Nested) {
        let count = kernel.counter(*counter)?;
        if count > 0 {
            println!("{}: {count}", counter.label());
        }
    }
    Ok(())
}

fn run(kernel: &mut Kernel, bench: &Path, frames: u32, calls: u32, id: ProcessId) -> Result<(f64, f64)> {
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
