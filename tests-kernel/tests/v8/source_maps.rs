//! A bundle that a minifier made, by its authors' lines: `testprogs/bundled/`, of which `src/` is the truth.

use std::{fs, path::Path, process::Command};

use tests_kernel::{
    Agent, Program, Report,
    agent::{binary, run_command},
    child::PATIENCE,
    on_every_node,
    report::Frame,
};

on_every_node! { a_minified_bundle_s_leaks_are_named_as_their_authors_know_them }

const BUNDLE: &str = "bundled/dist/app.js";

/// What leaks: function, file, and the line that allocates.
const AUTHORS: [(&str, &str, u32); 4] = [
    ("rememberAnswer", "bundled/src/server.ts", 21),
    ("(anonymous) server.ts:30:22", "bundled/src/server.ts", 31),
    ("keepCart", "bundled/src/session.ts", 19),
    ("firstPages", "bundled/src/session.ts", 13),
];

fn traced(major: u32, node: &Path, flags: &[&str]) -> Report {
    // Code that is not optimised has its line in every version, and nothing is inlined. Maglev came with node 20.
    let no_maglev: &[&str] = if major >= 20 { &["--no-maglev"] } else { &[] };
    let mut program =
        Program::node(node, &[&["--expose-gc", "--no-opt"], no_maglev].concat(), BUNDLE).unwrap();
    let flags = [&super::INTERVAL, flags].concat();
    let agent = Agent::attach(&[program.pid()], &flags).unwrap();
    program.work().unwrap();
    let report = agent.stop().unwrap();
    program.end().unwrap();
    report
}

/// Live bytes of the stacks with such a frame.
fn live(report: &Report, function: &str, file: &str, line: Option<u32>) -> u64 {
    let has = |frame: &Frame| {
        frame.is_in(file)
            && frame.function.as_deref() == Some(function)
            && line.is_none_or(|line| frame.line == Some(line))
    };
    let stacks = report.of_javascript().filter(|stack| stack.frames.iter().any(|frame| has(frame)));
    stacks.map(|stack| stack.sums.live_bytes).sum()
}

fn a_minified_bundle_s_leaks_are_named_as_their_authors_know_them(major: u32, node: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let [folded, recording] = ["live.folded", "out.ltrace"].map(|name| folder.path().join(name));
    let paths = [&folded, &recording].map(|path| path.to_str().unwrap());
    let report = traced(major, node, &["--source-maps", "--folded", paths[0], "--record", paths[1]]);
    for (function, file, line) in AUTHORS {
        let bytes = live(&report, function, file, Some(line));
        eprintln!("node {major}: {function} {file}:{line}: {bytes} bytes");
        assert!(bytes > 500_000, "node {major}: {function} {file}:{line}\n{}", report.overview());
    }
    // Who calls them, and whose constructor made what is live.
    let types = &report.processes[0].javascript.as_ref().unwrap().types;
    assert!(live(&report, "work", "bundled/src/server.ts", None) > 2_000_000, "{}", report.overview());
    assert!(live(&report, "Session", "bundled/src/session.ts", Some(9)) > 500_000, "{}", report.overview());
    assert!(types.iter().any(|one| one.name == "Session"), "node {major}: {types:?}");
    let unread: Vec<_> = report.coverage.javascript_unread.keys().collect();
    assert!(unread.iter().all(|why| !why.starts_with("source maps")), "node {major}: {unread:?}");

    // Each form of output has the same frames; a recording shows them again.
    let folded = fs::read_to_string(&folded).unwrap();
    assert!(folded.contains("bundled/src/session.ts:19:16"), "node {major}: {folded}");
    let again = run_command(Command::new(binary()).args(["report", paths[1], "--top", "1000"]), PATIENCE);
    let again = again.unwrap().stdout;
    assert!(again.contains("keepCart") && again.contains("session.ts:19"), "node {major}: {again}");

    // Without the flag it is the bundle that is shown.
    let report = traced(major, node, &[]);
    let minified = live(&report, "u", BUNDLE, Some(4));
    assert!(minified > 500_000, "node {major}: {}", report.overview());
    assert_eq!(report.of_javascript().filter(|stack| stack.innermost_in(".ts").is_some()).count(), 0);
}
