//! What a verdict does to a run: exit codes by `--fail-on`, `--suppress`, and what changed between marks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command, thread, time::Duration};

use tests_kernel::{
    Agent, Program, Report,
    agent::{binary, run_command},
    child::{PATIENCE, Process},
    compile::{Compiler, compiled},
    needs_root,
    node::node,
};

const FOUND: i32 = 7;
const PROGRAM_FAILED: i32 = 8;

/// A quarter of a second: a leak takes 18 seconds.
const EPOCH: [&str; 2] = ["--epoch", "250ms"];
const FOR_A_LEAK: Duration = Duration::from_secs(27);

#[test]
fn a_leak_ends_the_run_with_its_code_unless_it_is_suppressed() {
    needs_root();
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let known = folder.path().join("known.supp");
    fs::write(&known, "# keeps requests on purpose\nleak:^keep_request$\n").unwrap();
    let known = known.to_str().unwrap();
    let attach = |flags: &[&str]| Agent::attach(&[program.pid()], &[&EPOCH, flags].concat()).unwrap();
    let leak = attach(&["--fail-on", "leak"]);
    let suspect = attach(&["--fail-on", "suspect"]);
    let suppressed = attach(&["--fail-on", "suspect", "--suppress", known]);
    program.begin().unwrap();
    thread::sleep(FOR_A_LEAK);
    // A leak is more than a suspicion.
    suspect.stop_with(FOUND).unwrap();
    let report = leak.stop_with(FOUND).unwrap();
    let found = report.verdicts.iter().find(|one| one.is_leak()).unwrap();
    assert!(found.has("keep_request"), "{}", found.text);
    let ids: Vec<&str> = report.stacks_at("keep_request").map(|stack| stack.stack.as_str()).collect();
    assert_eq!(found.members, ids, "a verdict names its stacks");
    let report = suppressed.stop_with(0).unwrap();
    let found = report.verdicts.iter().find(|one| one.is_leak()).unwrap();
    assert_eq!(found.suppressed.as_deref(), Some("^keep_request$"));
    program.stop().unwrap();
}

/// What stands in the README, on a script in the place of `npm test`.
#[test]
fn a_leak_in_a_child_of_a_launched_script_fails_it() {
    needs_root();
    let zoo = compiled("zoo.c", Compiler::Gcc).unwrap();
    let script = format!("(echo; sleep 26; echo; echo) | {} steady 30", zoo.display());
    let mut command = Command::new(binary());
    command.args(["--follow", "--fail-on", "leak"]).args(EPOCH).args(["--", "sh", "-c", &script]);
    let ended = run_command(&mut command, Duration::from_secs(120)).unwrap();
    assert_eq!(ended.status.code(), Some(FOUND), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("keep_request"), "{}", ended.stdout);
}

#[test]
fn tests_that_fail_fail_the_run_too_and_one_too_short_for_a_leak_says_so() {
    needs_root();
    let script = ["--", "sh", "-c", "sleep 1; exit 3"];
    let mut command = Command::new(binary());
    command.args(["--fail-on", "leak"]).args(script);
    let ended = run_command(&mut command, Duration::from_secs(120)).unwrap();
    assert_eq!(ended.status.code(), Some(PROGRAM_FAILED), "{}", ended.stderr);
    assert!(ended.stderr.contains("no leak is called before 36m at --epoch 30s"), "{}", ended.stderr);
    // Who did not ask for a verdict by exit code gets what was traced.
    let ended = run_command(Command::new(binary()).args(script), Duration::from_secs(120)).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

fn change(report: &Report, what: &str) -> Option<(i64, i64)> {
    report.change_of(what).map(|change| (change.blocks, change.bytes))
}

#[test]
fn a_difference_is_since_the_mark_and_between_two_of_two_marks_and_from_the_start_without_any() {
    needs_root();
    let mut program = Program::c("changes.c").unwrap();
    let attach = || Agent::attach(&[program.pid()], &[]).unwrap();
    let (unmarked, mut once, mut twice) = (attach(), attach(), attach());
    program.step().unwrap();
    once.mark().unwrap();
    twice.mark().unwrap();
    program.step().unwrap();
    twice.mark().unwrap();
    program.step().unwrap();
    let [unmarked, once, twice] = [unmarked, once, twice].map(|agent| agent.stop().unwrap());
    let (old, large, small) = ("513 to 1024 bytes", "4097 to 8192 bytes", "257 to 512 bytes");
    let all = |report: &Report| [old, large, small].map(|what| change(report, what));
    assert_eq!(all(&unmarked), [Some((20, 20_000)), Some((20, 100_000)), Some((7, 2100))]);
    assert_eq!(all(&once), [Some((-40, -40_000)), Some((20, 100_000)), Some((7, 2100))]);
    assert_eq!(all(&twice), [Some((-40, -40_000)), Some((30, 150_000)), None]);
    let points = |report: &Report| report.diff.as_ref().map(|diff| (diff.from.clone(), diff.to.clone()));
    let named = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
    assert_eq!(points(&unmarked), named("start", "end"));
    assert_eq!(points(&once), named("mark", "end"));
    assert_eq!(points(&twice), named("mark", "mark"));
    let stack = once.stacks_at("allocate_old").next().unwrap();
    let changed = once.diff.as_ref().unwrap().stacks.iter().find(|one| one.stack == stack.stack).unwrap();
    assert_eq!((changed.change.blocks, changed.change.bytes), (-40, -40_000));
    program.stop().unwrap();
}

#[test]
fn types_of_javascript_that_grew_and_shrank_are_told() {
    needs_root();
    let Some(node) = node(20) else { return };
    let mut program = Program::node_with(&node, &["--expose-gc"], "v8_changes.js", &[]).unwrap();
    let flags = ["--only", "javascript", "--js-interval", "1KiB"];
    let mut agent = Agent::attach(&[program.pid()], &flags).unwrap();
    program.step().unwrap();
    agent.mark().unwrap();
    program.step().unwrap();
    let report = agent.stop().unwrap();
    let types = report.diff.as_ref().map(|diff| &diff.types);
    // 20,000 of each, of 150 fields: the class is to be told of all, however many fields it has.
    let bytes = |what: &str| change(&report, what).map_or(0, |(_, bytes)| bytes);
    assert!(bytes("Session") < -20_000_000, "{types:?}\n{:?}", report.coverage);
    assert!(bytes("Ticket") > 20_000_000, "{types:?}\n{:?}", report.coverage);
    program.stop().unwrap();
}

/// On a terminal of its own, which util-linux's `script` makes. `exec`, for Ctrl-C reaches all of the terminal's foreground:
/// a shell that waits for the agent would end by it (dash does, bash has replaced itself by then).
#[test]
fn enter_on_its_terminal_sets_a_mark() {
    needs_root();
    let mut program = Program::start("steady.c", Compiler::Gcc, &[]).unwrap();
    let traced = format!("exec {} --pid {} --duration 1m", binary().display(), program.pid());
    let mut terminal = Process::start(Command::new("script").args(["-qec", &traced, "/dev/null"])).unwrap();
    let until = |terminal: &mut Process, what: &str| {
        while !terminal.stdout.next(PATIENCE).unwrap().expect(what).contains(what) {}
    };
    until(&mut terminal, "attached to");
    terminal.tell("\n").unwrap();
    until(&mut terminal, "marked: ");
    // Ctrl-C.
    terminal.tell("\x03").unwrap();
    assert!(terminal.wait(PATIENCE).unwrap().success(), "{}", terminal.stdout.text());
    // To work, and to stop.
    program.begin().unwrap();
    program.stop().unwrap();
}
