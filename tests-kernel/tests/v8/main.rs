//! V8's heap in every node that `.ci/run` fetched: what leaktrace says from outside against what the program, V8's own
//! tools and `Error.stack` say from inside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod busy;
mod checks;
mod collections;
mod debian;
mod frames;
mod processes;
mod profile;
mod server;
mod source_maps;
mod survival;
mod types;
mod wasm;

use std::path::Path;

use tests_kernel::{Agent, Program, Report, report::Stack};

/// Small against the programs' heaps, so that counts are large and errors small.
const INTERVAL: [&str; 2] = ["--js-interval", "64KiB"];

/// Traced from before its work to the end of its first step. The program still lives.
fn traced(node: &Path, flags: &[&str], script: &str) -> (Program, Report) {
    let mut program = Program::node(node, &[&["--expose-gc"], flags].concat(), script).unwrap();
    let agent = Agent::attach(&[program.pid()], &INTERVAL).unwrap();
    program.work().unwrap();
    let report = agent.stop().unwrap();
    (program, report)
}

/// Samples of the stacks whose innermost frame in this file is this function: taken and died.
fn samples(report: &Report, file: &str, function: &str) -> (u64, u64) {
    let stacks = at(report, file, function);
    stacks.fold((0, 0), |(taken, died), stack| (taken + stack.sums.allocs, died + stack.sums.frees))
}

/// Stacks of JavaScript's heap whose innermost frame in this file is this function.
fn at<'a>(report: &'a Report, file: &'a str, function: &'a str) -> impl Iterator<Item = &'a Stack> {
    report.of_javascript().filter(move |stack| {
        stack.innermost_in(file).is_some_and(|frame| frame.function.as_deref() == Some(function))
    })
}
