//! What was derived from a binary, made wrong on purpose: the running process shows it, and what rests on it is off and said
//! so.

use std::path::Path;

use tests_kernel::{Agent, Program, Report, on_every_node};

use super::INTERVAL;

on_every_node! {
    what_holds_is_not_given_up
    allocation_areas_that_are_none_end_the_samples
    page_flags_elsewhere_end_survival
    mark_bits_elsewhere_end_survival
    maps_that_are_none_end_types
}

/// A report of `v8_survival.js` by a leaktrace that was misled so, and the program's pid.
fn misled(node: &Path, how: &str) -> (Report, u32) {
    let mut program = Program::node(node, &["--expose-gc"], "v8_survival.js").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_leaktrace-misled"));
    command.env("LEAKTRACE_MISLED", how).args(["--pid", &program.pid().to_string()]).args(INTERVAL);
    let agent = Agent::start(&mut command).unwrap();
    program.work().unwrap();
    let report = agent.stop().unwrap();
    program.end().unwrap();
    (report, program.pid())
}

/// What is not seen, whether samples are followed, how many live, and the bytes that all stand for.
fn said(report: &Report, pid: u32) -> (Vec<String>, bool, u64, u64) {
    let own = report.javascript(pid).expect("V8 is found");
    (own.unseen.clone(), own.followed, own.live.samples, own.sampled_bytes)
}

fn assert_not_followed(major: u32, node: &Path, how: &str, reasons: &[&str]) {
    let (report, pid) = misled(node, how);
    let (unseen, followed, live, sampled) = said(&report, pid);
    eprintln!("node {major}, {how}: {unseen:?}, {live} live samples, {sampled} bytes");
    let is_said = |what: &String| reasons.iter().any(|reason| what.contains(reason));
    assert!(unseen.iter().any(is_said), "node {major}: {unseen:?}");
    assert!(!followed && live == 0 && sampled > 0, "node {major}: {live} live samples, {sampled} bytes");
    let judged = report.verdicts.iter().filter(|verdict| verdict.heap == "javascript").count();
    assert_eq!(judged, 0, "node {major}: {:?}", report.verdicts);
}

fn what_holds_is_not_given_up(major: u32, node: &Path) {
    let (report, pid) = misled(node, "nothing");
    let (unseen, followed, live, _) = said(&report, pid);
    assert_eq!(unseen, Vec::<String>::new(), "node {major}");
    assert!(followed && live > 100, "node {major}: {live} live samples");
}

fn allocation_areas_that_are_none_end_the_samples(major: u32, node: &Path) {
    let (report, pid) = misled(node, "areas");
    let (unseen, ..) = said(&report, pid);
    eprintln!("node {major}: {unseen:?}");
    assert!(unseen.iter().any(|what| what.contains("allocation area")), "node {major}: {unseen:?}");
}

fn page_flags_elsewhere_end_survival(major: u32, node: &Path) {
    assert_not_followed(major, node, "pages all old", &["young"]);
}

fn mark_bits_elsewhere_end_survival(major: u32, node: &Path) {
    // Of an object that is wrongly taken for alive, what is in its place may show first that it is gone.
    assert_not_followed(major, node, "marks", &["marked", "young"]);
}

fn maps_that_are_none_end_types(major: u32, node: &Path) {
    let (report, pid) = misled(node, "maps");
    let (unseen, followed, live, _) = said(&report, pid);
    eprintln!("node {major}: {unseen:?}, {live} live samples");
    assert!(unseen.len() == 1 && unseen[0].contains("map"), "node {major}: {unseen:?}");
    assert!(followed && live > 100, "node {major}: {live} live samples");
}
