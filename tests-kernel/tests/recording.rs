//! Recordings of real traces: the same as the live report, and readable whatever became of leaktrace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command, thread, time::Duration};

use tests_kernel::{
    Agent, Program, Report,
    agent::{binary, run_command},
    child::PATIENCE,
    compile::Compiler,
    needs_root,
};

/// A moment each quarter of a second.
const EPOCH: [&str; 2] = ["--epoch", "250ms"];
/// Some ten of them.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

fn leaktrace(arguments: &[&str]) -> tests_kernel::agent::Ended {
    run_command(Command::new(binary()).args(arguments), PATIENCE).unwrap()
}

/// The report of a recording, as JSON.
fn report_of(recording: &str, json: &Path) -> (Report, String) {
    let ended = leaktrace(&["report", recording, "--quiet", "--json", json.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    (Report::read(json).unwrap(), ended.stderr)
}

#[test]
fn a_recording_reports_what_the_live_report_said_to_the_byte() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (recording, live, again) = (path("out.ltrace"), path("live.json"), path("again.json"));
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    let mut command = Command::new(binary());
    command.args([
        "record",
        "--pid",
        &program.pid().to_string(),
        "--exact",
        "-o",
        &recording,
        "--json",
        &live,
    ]);
    command.args(["--duration", "4s", "--interval", "1s"]).args(EPOCH);
    // It is let go before leaktrace attaches: what it did until then is not in the books either way.
    program.begin().unwrap();
    let traced = run_command(&mut command, PATIENCE).unwrap();
    assert_eq!(traced.status.code(), Some(0), "{}", traced.stderr);
    let (report, said) = report_of(&recording, Path::new(&again));
    assert!(said.is_empty(), "{said}");
    assert!(report.stacks_at("keep_request").next().is_some(), "it has names");
    assert_eq!(fs::read_to_string(&live).unwrap(), fs::read_to_string(&again).unwrap());
    // Of the reports that it printed the last one is the recording's.
    let printed = leaktrace(&["report", &recording]);
    assert!(traced.stdout.ends_with(&printed.stdout), "{}\n---\n{}", traced.stdout, printed.stdout);
    assert!(printed.stdout.contains("keep_request"), "{}", printed.stdout);
    let moments = leaktrace(&["report", &recording, "--moments"]);
    // A head, the first moment and the last: how many lie between depends on what a moment takes here.
    assert!(moments.stdout.lines().count() > 2, "{}", moments.stdout);
    let early = leaktrace(&["report", &recording, "--at", "3s"]);
    assert!(early.stdout.contains("traced for "), "{}", early.stdout);
    assert!(!early.stdout.contains("traced for 4 s"), "{}", early.stdout);
    let (drawn, differential) = (path("live.svg"), path("change.svg"));
    let flamegraph = leaktrace(&["flamegraph", &recording, "-o", &drawn]);
    assert_eq!(flamegraph.status.code(), Some(0), "{}", flamegraph.stderr);
    assert!(fs::read_to_string(&drawn).unwrap().contains("keep_request"));
    let page = path("out.html");
    leaktrace(&["report", &recording, "--quiet", "--html", &page]);
    assert!(
        fs::read_to_string(&page).unwrap().contains("Live bytes of native memory"),
        "its moments are drawn"
    );
    let same = leaktrace(&["diff", &recording, &recording, "--flamegraph", &differential]);
    assert!(same.stdout.contains("no stack holds more or less"), "{}", same.stdout);
    assert!(fs::read_to_string(&differential).unwrap().contains("keep_request"));
    program.stop().unwrap();
}

#[test]
fn what_was_recorded_before_leaktrace_was_killed_is_reported() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("out.ltrace");
    let flags = [&EPOCH[..], &["--record", recording.to_str().unwrap()]].concat();
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    let agent = Agent::attach(&[program.pid()], &flags).unwrap();
    program.begin().unwrap();
    thread::sleep(LONG_ENOUGH);
    agent.kill().unwrap();
    let (report, said) = report_of(recording.to_str().unwrap(), &folder.path().join("report.json"));
    let live: u64 = report.stacks_at("keep_request").map(|stack| stack.sums.live_bytes).sum();
    assert!(live > 0, "the leak is in it");
    assert!(said.contains("has no end") || said.contains("cut short"), "{said}");
    program.stop().unwrap();
}

#[test]
fn a_full_disk_ends_with_a_word_and_the_whole_report() {
    needs_root();
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    program.begin().unwrap();
    let pid = program.pid().to_string();
    let ended = leaktrace(&[
        "--pid",
        &pid,
        "--exact",
        "--duration",
        "2s",
        "--record",
        "/dev/full",
        "--epoch",
        "250ms",
    ]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("keep_request"), "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("cannot write /dev/full").count(), 1, "said once: {}", ended.stderr);
    program.stop().unwrap();
}
