//! Compares the kernel side's stacks with those that the processes find themselves, frame by frame.
//!
//! `cargo test -p tests-unwind --test truth [-- NAME...]`: only these cases; LEAKTRACE_SHOW=n prints the first n
//! differences of each (3). The last line is one of libtest's, in which each case is a test.

mod alike;
mod cases;
mod outcome;

use std::process::ExitCode;

use anyhow::Result;
use leaktrace::unwind::arena::REST;
use leaktrace_common::{counter::Counter, process::ProcessId};
use tests_unwind::{kernel::Kernel, programs, tables, tracee};

use alike::{debug_frame, pending};
use cases::cases;
use outcome::{SETTLED, run};

/// Fewer stacks than this in all prove too little.
const LEAST_STACKS: u64 = 100_000;
/// Of so many stacks one may be cut where it could not be read; that one is right as far as it goes, and says so.
const STACKS_A_CUT: u64 = 1_000_000;
/// Bytes of the tables of node's executable, the largest binary here: 1.2 MiB of Debian's, 2.8 of nodejs.org's 26.
const MOST_TABLES: usize = 3_000_000;

fn main() -> Result<ExitCode> {
    let (flags, only): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    if flags.iter().any(|flag| flag == "--list") {
        println!("truth: test");
        return Ok(ExitCode::SUCCESS);
    }
    let preload = programs::build("preload.c", &["-shared", "-fPIC"])?;
    let mut kernel = Kernel::load(&programs::object()?)?;
    for program in ["call_enter", "call_return", "call_at_ret", "free_enter", "process_fork"] {
        println!("{program}: {} instructions verified", kernel.verify(program)?.unwrap_or(0));
    }
    for (program, symbol) in [
        ("truth_entry", "leaktrace_truth"),
        ("truth_site", "leaktrace_truth_site"),
        ("truth_return", "leaktrace_truth"),
    ] {
        kernel.attach(program, symbol, &preload)?;
        println!("{program}: {} instructions verified", kernel.verify(program)?.unwrap_or(0));
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut check = |name: &str, is_right: bool| {
        println!("test {name} ... {}", if is_right { "ok" } else { "FAILED" });
        *if is_right { &mut passed } else { &mut failed } += 1;
    };
    let mut total = 0;
    let (cases, missing) = cases()?;
    for name in missing {
        println!("{name:12} skipped: there is no such program here");
        if programs::may_not_skip() {
            check(name, false);
        } else {
            skipped += 1;
        }
    }
    for (number, case) in cases.into_iter().enumerate() {
        if !only.is_empty() && !only.iter().any(|name| name == case.name) {
            continue;
        }
        let outcome = run(&mut kernel, &case, &preload, ProcessId(number as u32 + 1))?;
        let right = outcome.equal + outcome.longer;
        if outcome.longer > 0 {
            println!(
                "{:12} the stacks longer than the truth end in {} places, all others in {}",
                case.name,
                outcome.longer_roots.len(),
                outcome.roots.len()
            );
        }
        println!(
            "{:12} {:8} stacks {:9} frames, deepest {:3}: {:8.4} % right ({} longer than the truth) {:?}",
            case.name,
            outcome.stacks,
            outcome.frames,
            outcome.deepest,
            right as f64 * 100.0 / outcome.stacks.max(1) as f64,
            outcome.longer,
            outcome.stops,
        );
        // The kernel may move a page of the stack (compaction) while a probe reads it, which must not wait.
        let may_be_cut = 1 + outcome.stacks / STACKS_A_CUT;
        let is_right = right + outcome.cut == outcome.stacks && outcome.cut <= may_be_cut;
        check(case.name, is_right && outcome.stacks > 0 && outcome.status == 0);
        total += outcome.stacks;
        if let Some(settled) = outcome.settled {
            let end = kernel.tables.memory().0;
            println!(
                "{:12} stopped {} times for tables; arena {} KiB after {SETTLED:?}, {} KiB at the end",
                case.name,
                outcome.stopped,
                settled / 1024,
                end / 1024
            );
            // A leak would have tripled it in a minute; what rests varies with the machine's speed.
            check("the arena does not grow", end < settled * 2);
        }
    }
    if only.is_empty() || only.iter().any(|name| name == "pending") {
        check("pending", pending(&mut kernel, &preload)?);
    }
    if only.is_empty() || only.iter().any(|name| name == "debug_frame") {
        check("debug_frame", debug_frame(&mut kernel, &preload)?);
    }
    let lost = [Counter::RingFull, Counter::ScratchBusy].map(|counter| kernel.counter(counter));
    let [ring, scratch] = lost;
    let (ring, scratch) = (ring?, scratch?);
    let (size, used) = kernel.tables.memory();
    println!(
        "{total} stacks; lost to a full ring: {ring}, to busy scratch space: {scratch}; arena {} KiB, {} KiB used",
        size / 1024,
        used / 1024
    );
    // The ring overflows where this process gets no processor for a while: such stacks are counted, and not compared.
    check("hardly a stack was lost", ring * 100 <= total && scratch == 0);
    // Binaries that nobody uses are dropped after a rest, and what they gave up rests once more.
    let now = tracee::now();
    kernel.tables.settle(now + REST * 2);
    kernel.tables.settle(now + REST * 4);
    let (_, kept) = kernel.tables.memory();
    println!("{kept} bytes of the arena are in use when every process is gone");
    check("the arena is empty in the end", kept == 0);
    if let Some(node) = programs::node().filter(|_| only.is_empty()) {
        let tables = tables::make(&node)?;
        println!("the tables of {}: {} rows, {} KiB", node.display(), tables.rows, tables.bytes / 1024);
        check("the tables of node are small", tables.bytes < MOST_TABLES);
    }
    if only.is_empty() {
        check("enough stacks", total >= LEAST_STACKS);
    }
    let verdict = if failed > 0 { "FAILED" } else { "ok" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
    );
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
