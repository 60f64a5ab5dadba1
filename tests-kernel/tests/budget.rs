//! `--budget`: what tracing may take of a process's time, and what is still found by then.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{thread::sleep, time::Duration};

use tests_kernel::{
    Agent, Program, Report, agent,
    compile::{Compiler, compiled},
    needs_root,
    private_libs::PrivateLibs,
    report::Cost,
};

/// Of the program's own time; what may be taken at once at the start is half a second, and the machine may be busy.
const BUDGET: f64 = 0.05;
const AT_ONCE: Duration = Duration::from_millis(500);

/// Traces `storm.c` for so long, with malloc of this library, or glibc's; with `--follow` it works in a child.
fn storm(allocator: Option<&str>, flags: &[&str], time: Duration) -> (Report, u64) {
    let executable = compiled("storm.c", Compiler::Gcc).unwrap();
    let libs = PrivateLibs::copy(allocator.as_slice()).unwrap();
    let arguments: &[&str] = if flags.contains(&"--follow") { &["child"] } else { &[] };
    let mut program = Program::start_file(&executable, arguments, libs, allocator.as_slice()).unwrap();
    let agent = Agent::attach(&[program.pid()], flags).unwrap();
    program.begin().unwrap();
    sleep(time);
    let report = agent.stop_within(Duration::from_secs(120)).unwrap();
    program.begin().unwrap();
    program.finish().unwrap();
    let (_, leaked) = program.truth.sites[0].clone();
    program.end().unwrap();
    (report, leaked.live_blocks)
}

fn cost(report: &Report) -> &Cost {
    report.cost.as_ref().unwrap()
}

#[test]
fn a_leak_in_a_storm_is_found_within_the_budget_and_nothing_else_is() {
    needs_root();
    let report = found_in_a_storm(None, &[], Duration::from_secs(50));
    assert!(report.stacks_at("leak_record").all(|stack| stack.error_bytes.is_some_and(|error| error > 0)));
}

#[test]
fn the_same_in_a_child_that_is_followed() {
    needs_root();
    found_in_a_storm(None, &["--follow"], Duration::from_secs(30));
}

#[test]
fn the_same_where_each_probe_is_placed_and_taken_back_by_itself() {
    needs_root();
    found_in_a_storm(None, &["--probe-by-probe"], Duration::from_secs(50));
}

/// jemalloc leaves what is freed as it was: what comes after it tells that it was.
#[test]
fn where_an_allocator_cannot_be_read_the_budget_holds_and_nothing_is_called_a_leak() {
    needs_root();
    let report = found_in_a_storm(Some("libjemalloc.so.2"), &[], Duration::from_secs(30));
    assert!(report.verdicts.iter().all(|verdict| verdict.verdict != "LEAK"), "{}", report.overview());
}

/// What is reported of the storm, which is what leaks.
fn found_in_a_storm(allocator: Option<&str>, flags: &[&str], time: Duration) -> Report {
    let flags = [&["--budget", "5%", "--epoch", "500ms"], flags].concat();
    let (report, leaked) = storm(allocator, &flags, time);
    let cost = cost(&report);
    let most = BUDGET + AT_ONCE.as_secs_f64() / time.as_secs_f64();
    assert!(cost.share < 1.5 * most, "{cost:?}");
    assert!(cost.pauses >= 5 && cost.watched < 0.3 && cost.over_budget.is_none(), "{cost:?}");
    assert_eq!(cost.budget, Some(BUDGET));
    for verdict in &report.verdicts {
        println!("{}", verdict.text);
        let is_leak = matches!(verdict.verdict.as_str(), "LEAK" | "SUSPECT");
        assert!(!is_leak || verdict.has("leak_record"), "{}", verdict.text);
    }
    // Of all that lives, nearly all is the leak's: what the ring and the sessions hold is half a megabyte.
    let found = report.at("leak_record");
    let others: u64 =
        ["cache_page", "open_session", "churn"].map(|site| report.at(site).live_bytes).iter().sum();
    println!("{leaked} blocks leaked, {} by estimate; {others} bytes elsewhere; {cost:?}", found.live_blocks);
    assert!(others < 1 << 20, "{}", report.overview());
    assert!(found.live_bytes > 2 * others, "{}", report.overview());
    // What glibc says is in use is known; where nothing does, every tenth at the least.
    let (least, most) = if allocator.is_none() { (0.6, 1.2) } else { (0.05, 2.0) };
    let part = found.live_blocks as f64 / leaked as f64;
    assert!((least..most).contains(&part), "{found:?} of {leaked}");
    report
}

#[test]
fn exactly_means_without_a_pause_and_says_what_that_takes() {
    needs_root();
    let (report, _) = storm(None, &[], Duration::from_secs(3));
    let cost = cost(&report);
    assert_eq!((cost.budget, cost.pauses, cost.watched), (None, 0, 1.0), "{cost:?}");
    assert!(cost.share > 1.0 && cost.hits > 100_000 && cost.hit_ns > 200, "{cost:?}");
    assert!(report.stacks_at("leak_record").all(|stack| stack.error_bytes.is_none()));
}

#[test]
fn that_a_heap_cannot_be_read_is_not_said_where_none_is_to_be() {
    needs_root();
    let executable = compiled("storm.c", Compiler::Gcc).unwrap();
    let allocator = ["libjemalloc.so.2"];
    let libs = PrivateLibs::copy(&allocator).unwrap();
    let program = Program::start_file(&executable, &[], libs, &allocator).unwrap();
    let pid = program.pid().to_string();
    let ended = agent::run(&["--pid", &pid, "--exact", "--duration", "1s"]).unwrap();
    assert!(ended.status.success() && ended.stderr.contains("libjemalloc"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("windows only"), "{}", ended.stderr);
}

#[test]
fn a_program_that_allocates_little_is_followed_exactly_within_the_default_budget() {
    needs_root();
    let mut program = Program::c("changes.c").unwrap();
    let agent = Agent::attach(&[program.pid()], &["--budget", "5%"]).unwrap();
    program.step().unwrap();
    sleep(Duration::from_secs(1));
    program.step().unwrap();
    program.step().unwrap();
    let report = agent.stop().unwrap();
    let cost = cost(&report);
    assert_eq!((cost.pauses, cost.watched), (0, 1.0), "{cost:?}");
    assert!(report.stacks.iter().all(|stack| stack.error_bytes.is_none()), "{}", report.overview());
    program.stop().unwrap();
}

#[test]
fn memory_is_right_while_probes_come_and_go() {
    needs_root();
    let mut program = Program::start("steady.c", Compiler::Gcc, &[]).unwrap();
    program.begin().unwrap();
    let agent = Agent::attach(&[program.pid()], &["--budget", "2%"]).unwrap();
    sleep(Duration::from_secs(20));
    let report = agent.stop().unwrap();
    assert!(cost(&report).pauses >= 2, "{:?}", report.cost);
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("wrong"), Some(0));
    program.end().unwrap();
}
