//! Every file of a report, written by one trace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command, thread, time::Duration};

use serde_json::Value;
use tests_kernel::{
    Agent, Program,
    agent::{binary, run_command},
    child::PATIENCE,
    compile::Compiler,
    needs_root, trace,
};

const FILES: [(&str, &str); 6] = [
    ("--folded", "live.folded"),
    ("--flamegraph", "live.svg"),
    ("--pprof", "heap.pb.gz"),
    ("--speedscope", "live.speedscope.json"),
    ("--heapprofile", "live.heapprofile"),
    ("--html", "report.html"),
];

#[test]
fn one_trace_leaves_every_file_and_their_sums_are_the_report_s() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let paths = FILES.map(|(flag, name)| [flag.to_owned(), folder.path().join(name).display().to_string()]);
    let flags: Vec<&str> = paths.as_flattened().iter().map(String::as_str).collect();
    let report = trace(&mut Program::c("family.c").unwrap(), &flags);
    let live = report.totals.live_bytes;
    assert!(live > 0);

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let folded = read("live.folded");
    assert_eq!(
        folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>(),
        live
    );
    assert!(read("live.svg").contains(&format!("total_samples=\"{live}\"")));
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    assert_eq!(json("live.speedscope.json")["profiles"][0]["endValue"], live);
    let samples = &json("live.heapprofile")["samples"];
    assert_eq!(
        samples.as_array().unwrap().iter().map(|one| one["size"].as_u64().unwrap()).sum::<u64>(),
        live
    );
    let page = read("report.html");
    let values = page.split("data-value=\"").skip(1);
    assert_eq!(values.map(|part| part.split('"').next().unwrap().parse::<u64>().unwrap()).sum::<u64>(), live);
    // gzip's mark.
    assert_eq!(fs::read(folder.path().join("heap.pb.gz")).unwrap()[..2], [0x1f, 0x8b]);
}

#[test]
fn what_was_written_at_intervals_is_whole_after_leaktrace_was_killed() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (folded, lines) = (path("live.folded"), path("reports.jsonl"));
    let stream = format!("jsonl={lines}");
    let flags = ["--interval", "200ms", "--epoch", "250ms", "--folded", &folded, "--stream", &stream];
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    let agent = Agent::attach(&[program.pid()], &flags).unwrap();
    program.begin().unwrap();
    thread::sleep(Duration::from_secs(3));
    agent.kill().unwrap();
    let folded = fs::read_to_string(folded).unwrap();
    assert!(folded.contains("keep_request") && folded.ends_with('\n'), "{folded}");
    let lines = fs::read_to_string(lines).unwrap();
    let whole = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let traced: Vec<u64> = whole.map(|report| report["traced_ns"].as_u64().unwrap()).collect();
    assert!(traced.len() > 2 && traced.is_sorted(), "{traced:?}");
    program.stop().unwrap();
}

#[test]
fn a_program_reads_along_by_lines_of_json_and_of_nothing_else() {
    needs_root();
    let mut program = Program::start("zoo.c", Compiler::Gcc, &["steady", "30"]).unwrap();
    program.begin().unwrap();
    let mut command = Command::new(binary());
    command.args(["--pid", &program.pid().to_string(), "--exact", "--stream", "jsonl"]);
    command.args(["--duration", "2s", "--interval", "300ms"]);
    let ended = run_command(&mut command, PATIENCE).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let reports: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert!(reports.len() > 2, "{} lines", reports.len());
    for report in &reports {
        assert_eq!((&report["schema"], &report["version"]), (&"leaktrace-report".into(), &2.into()));
    }
    let live = |report: &Value| report["totals"]["live_bytes"].as_u64().unwrap();
    assert!(live(&reports[0]) < live(&reports[reports.len() - 1]), "it leaks");
    program.stop().unwrap();
}
