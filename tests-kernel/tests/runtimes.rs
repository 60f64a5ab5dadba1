//! Programs of other languages: Python and node.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Command, thread, time::Duration};

use tests_kernel::{
    Agent, Program, checkout, load::Load, needs_root, private_libs::PrivateLibs, target, trace,
};

/// The interpreter behind whatever script the name stands for.
fn python() -> PathBuf {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = asked.expect("python3 is needed for this test: `.ci/run` installs it");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn large_objects_of_python_are_exact() {
    needs_root();
    let libs = PrivateLibs::copy(&[]).unwrap();
    let script = checkout().join("testprogs/leak.py");
    let mut program = Program::start_file(&python(), &[script.to_str().unwrap()], libs, &[]).unwrap();
    // Nothing else in the interpreter is of about this size.
    let report = trace(&mut program, &["--min-size", "100000", "--max-size", "100100"]);
    let (block, blocks) = (program.truth.number("block").unwrap(), program.truth.number("blocks").unwrap());
    assert_eq!((report.totals.live_blocks, report.totals.live_bytes), (blocks, blocks * block));
    assert_eq!((report.totals.allocs, report.totals.frees), (blocks + 50, 50));
    assert_eq!(report.coverage.lost, 0);
}

/// The first of those that `.ci/run` put there, else the machine's.
fn node() -> PathBuf {
    let own = target().join("node/20/bin/node");
    if own.exists() { own } else { PathBuf::from("node") }
}

fn server() -> (Program, u16) {
    let libs = PrivateLibs::copy(&[]).unwrap();
    let script = checkout().join("testprogs/leak_server.js");
    let program = Program::start_file(&node(), &[script.to_str().unwrap()], libs, &[])
        .expect("node is needed for this test: `.ci/run` installs it");
    let port = program.greeting.iter().find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
    (program, port)
}

fn seconds() -> Duration {
    let seconds = std::env::var("LEAKTRACE_LOAD_SECONDS").map_or(20, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn a_node_server_under_load_fails_no_request_and_shows_its_own_functions() {
    needs_root();
    let (mut program, port) = server();
    let load = Load::start(port, "/", 8, Duration::ZERO);
    // Few enough that what is kept stays small: 70 kB for each request.
    let leaks = Load::start(port, "/leak", 1, Duration::from_millis(50));
    let agent = Agent::attach(&[program.pid()], &["--top", "1000000"]).unwrap();
    thread::sleep(seconds());
    let report = agent.stop().unwrap();
    let served = load.end().expect("no request fails");
    let leaked = leaks.end().expect("no request fails");
    assert!(served.requests > 0 && leaked.requests > 0);

    assert_eq!(report.coverage.lost, 0, "{:?}", report.coverage);
    let own = report.stacks.iter().flat_map(|stack| &stack.frames).any(|frame| {
        let function = frame.function.as_deref().unwrap_or_default();
        let module = frame.module.as_deref().unwrap_or_default();
        module.contains("node") && (function.contains("node::") || function.contains("v8::"))
    });
    assert!(own, "no function of node's own:\n{}", report.overview());

    program.begin().unwrap();
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("kept"), Some(leaked.requests));
    program.end().unwrap();
}

#[test]
fn buffers_that_a_node_server_keeps_are_exact() {
    needs_root();
    let (mut program, port) = server();
    let agent = Agent::attach(&[program.pid()], &["--min-size", "70001", "--max-size", "70001"]).unwrap();
    let leaks = Load::start(port, "/leak", 2, Duration::from_millis(5));
    thread::sleep(Duration::from_secs(2));
    let leaked = leaks.end().unwrap();
    let report = agent.stop().unwrap();
    program.begin().unwrap();
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("kept"), Some(leaked.requests));
    assert_eq!(report.totals.live_blocks, leaked.requests, "{}", report.overview());
    assert_eq!(report.totals.live_bytes, leaked.requests * program.truth.number("size").unwrap());
    program.end().unwrap();
}
