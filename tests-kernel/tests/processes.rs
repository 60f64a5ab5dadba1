//! Processes and threads that begin, change and end while they are traced, and a leaktrace that does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use tests_kernel::{
    Agent, Program,
    agent::{binary, run},
    assert_exact,
    compile::{Compiler, compiled},
    needs_root,
    report::Sums,
    trace,
};

#[test]
fn a_thousand_threads_that_end_leave_the_books_right() {
    needs_root();
    let mut program = Program::c("threads_exit.c").unwrap();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
}

/// The site's numbers as the program told them.
fn told(program: &Program, site: &str) -> Sums {
    program.truth.sites.iter().find(|(name, _)| name == site).unwrap().1
}

#[test]
fn a_child_is_not_followed_and_does_not_change_its_parents_books() {
    needs_root();
    let mut program = Program::c("fork.c").unwrap();
    let report = trace(&mut program, &[]);
    assert_eq!(report.at("parent_leak"), told(&program, "parent_leak"));
    assert_eq!(report.at("child_leak"), Sums::default());
    assert_eq!(report.coverage.lost, 0);
}

#[test]
fn a_followed_child_has_books_of_its_own() {
    needs_root();
    let mut program = Program::c("fork.c").unwrap();
    let report = trace(&mut program, &["--follow"]);
    let child = u32::try_from(program.truth.number("child").unwrap()).unwrap();
    assert_eq!(report.at_in("parent_leak", program.pid()), told(&program, "parent_leak"));
    assert_eq!(report.at_in("child_leak", child), told(&program, "child_leak"));
    assert_eq!(report.at_in("child_leak", program.pid()), Sums::default());
    // It has its parent's tables from its first instruction on.
    let of_child: Vec<_> = report.stacks_at("child_leak").filter(|stack| stack.pid == child).collect();
    assert!(!of_child.is_empty() && of_child.iter().all(|stack| stack.complete), "{}", report.overview());
    // The five blocks that the child inherited and freed are the parent's in the parent.
    assert!(report.counter("FreeUnknown") >= 5);
}

#[test]
fn what_a_program_held_before_exec_is_gone_after_it() {
    needs_root();
    let mut program = Program::c("exec.c").unwrap();
    let report = trace(&mut program, &[]);
    let before = report.at("before_exec");
    assert_eq!((before.live_bytes, before.live_blocks), (0, 0));
    assert_exact(&report, &program.truth);
}

#[test]
fn the_report_comes_when_the_target_ends() {
    needs_root();
    let mut program = Program::c("family.c").unwrap();
    let mut agent = Agent::attach(&[program.pid()], &[]).unwrap();
    program.work().unwrap();
    program.end().unwrap();
    let report = agent.ended().unwrap();
    assert_exact(&report, &program.truth);
}

#[test]
fn a_command_is_traced_from_its_start_to_its_end() {
    needs_root();
    let executable = compiled("family.c", Compiler::Gcc).unwrap();
    // It waits for two lines; the shell gives them.
    let script = format!("printf '\\n\\n' | {}", executable.display());
    let mut agent =
        Agent::start(Command::new(binary()).args(["--follow", "--", "sh", "-c", &script])).unwrap();
    let report = agent.ended().unwrap();
    assert_eq!(report.at("site_malloc").allocs, 2);
    assert_eq!(report.at("site_malloc_mapped").live_bytes, 1_234_567);
}

#[test]
fn a_duration_ends_tracing_and_not_the_target() {
    needs_root();
    let mut program = Program::c("steady.c").unwrap();
    let mut agent = Agent::attach(&[program.pid()], &["--duration", "1s"]).unwrap();
    program.begin().unwrap();
    let report = agent.ended().unwrap();
    assert!(report.totals.allocs > 0);
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("wrong"), Some(0));
    program.end().unwrap();
}

#[test]
fn a_report_comes_at_every_interval_and_at_the_end() {
    needs_root();
    let mut program = Program::c("steady.c").unwrap();
    program.begin().unwrap();
    let pid = program.pid().to_string();
    let flags = ["--pid", &pid, "--interval", "500ms", "--duration", "2s", "--older-than", "1h"];
    let ended = run(&flags).unwrap();
    let reports = ended.stdout.matches("traced for").count();
    assert!(reports >= 3, "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("0 B live in 0 blocks older than").count(), reports, "{}", ended.stdout);
    program.stop().unwrap();
}

/// Probes in libc that stand for every process would trap it at each of its own allocations otherwise.
#[test]
fn leaktraces_own_memory_is_not_of_libc() {
    needs_root();
    let mut program = Program::c("steady.c").unwrap();
    program.begin().unwrap();
    let observed = Agent::attach(&[program.pid()], &["--interval", "500ms"]).unwrap();
    let report = Agent::attach(&[observed.pid()], &["--duration", "3s"]).unwrap().ended().unwrap();
    let mut of_function: BTreeMap<&str, u64> = BTreeMap::new();
    for stack in &report.stacks {
        *of_function.entry(stack.function.as_deref().unwrap_or_default()).or_default() += stack.sums.allocs;
    }
    let (own, of_libc): (Vec<_>, Vec<_>) =
        of_function.into_iter().partition(|(function, _)| function.starts_with("mi_"));
    let sum = |functions: &[(&str, u64)]| functions.iter().map(|(_, allocs)| allocs).sum::<u64>();
    assert!(sum(&own) > 100, "{own:?}");
    assert!(sum(&of_libc) < sum(&own) / 20, "{of_libc:?} of {own:?}");
    observed.stop().unwrap();
    program.stop().unwrap();
}

/// Four targets at a time, as nearly all of it is waiting for the kernel to take probes back.
#[test]
fn the_target_outlives_a_leaktrace_killed_in_mid_trace() {
    const AT_A_TIME: u64 = 4;
    needs_root();
    let rounds: u64 = std::env::var("LEAKTRACE_SIGKILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    thread::scope(|scope| {
        for first in 0..AT_A_TIME {
            scope.spawn(move || outlives((first..rounds).step_by(AT_A_TIME as usize)));
        }
    });
}

fn outlives(rounds: impl Iterator<Item = u64>) {
    let mut program = Program::c("steady.c").unwrap();
    program.begin().unwrap();
    for round in rounds {
        let agent = Agent::attach(&[program.pid()], &[]).unwrap();
        // Killed at another moment each time; what is tested holds at all of them.
        thread::sleep(Duration::from_millis(round * 7 % 40));
        agent.kill().unwrap();
        assert!(program.is_alive(), "the target died in round {round}");
    }
    // A last one still attaches, and what it reports has lost nothing.
    let report = Agent::attach(&[program.pid()], &["--duration", "500ms"]).unwrap().ended().unwrap();
    assert!(report.totals.allocs > 0);
    assert_eq!(report.coverage.lost, 0);
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("wrong"), Some(0));
    program.end().unwrap();
}
