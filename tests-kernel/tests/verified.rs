//! Survivors are held against glibc's own heap before anything is called a leak.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests_kernel::{
    Agent, Program, Report,
    compile::{Compiler, compiled},
    needs_root,
    node::node,
    private_libs::PrivateLibs,
    report::Verdict,
};

/// A leak is called after 72 of them.
const EPOCH: Duration = Duration::from_millis(100);
const FLAGS: [&str; 2] = ["--epoch", "100ms"];

/// Watches `freed_elsewhere.c` for so many epochs before its first line, and after.
fn watched(arguments: &[&str], before: u32, after: u32) -> Result<Report> {
    needs_root();
    let mut program = Program::start("freed_elsewhere.c", Compiler::Gcc, arguments)?;
    let agent = Agent::attach(&[program.pid()], &FLAGS)?;
    program.begin()?;
    thread::sleep(before * EPOCH);
    program.begin()?;
    thread::sleep(after * EPOCH);
    let report = agent.stop()?;
    program.begin()?;
    program.finish()?;
    program.end()?;
    Ok(report)
}

fn at_site<'a>(report: &'a Report, site: &str) -> Result<&'a Verdict> {
    report
        .verdicts
        .iter()
        .find(|verdict| verdict.has(site))
        .with_context(|| format!("{:#?}", report.verdicts))
}

fn number(verdict: &Verdict, name: &str) -> u64 {
    verdict.evidence["verified"][name].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn each_survivor_of_a_leak_is_in_use_in_glibcs_heap() -> Result<()> {
    let report = watched(&["keeps"], 110, 10)?;
    let leak = at_site(&report, "leak_request")?;
    println!("{}", leak.text);
    assert_eq!(leak.verdict, "LEAK", "{}", leak.text);
    assert_eq!((number(leak, "checked"), number(leak, "confirmed")), (200, 200), "{}", leak.evidence);
    assert_eq!((number(leak, "refuted"), number(leak, "unknown")), (0, 0), "{}", leak.evidence);
    ensure!(leak.text.contains("200 of 200 looked up in glibc's own heap are in use."), "{}", leak.text);
    Ok(())
}

#[test]
fn a_leak_whose_blocks_were_freed_unseen_is_taken_back_or_suspected_and_says_so() -> Result<()> {
    let report = watched(&[], 110, 8)?;
    let said = at_site(&report, "leak_request")?;
    println!("{}", said.text);
    ensure!(said.verdict == "TAKEN BACK" || said.verdict == "SUSPECT", "{}", said.text);
    let (checked, refuted) = (number(said, "checked"), number(said, "refuted"));
    ensure!(checked == 200 && refuted > checked / 2, "{}", said.evidence);
    ensure!(said.text.contains("survivors looked up in the allocator's own heap are free"), "{}", said.text);
    Ok(())
}

#[test]
fn another_allocators_survivors_are_said_not_to_be_looked_up() -> Result<()> {
    needs_root();
    let libs = PrivateLibs::copy(&["libjemalloc.so.2"])?;
    let executable = compiled("freed_elsewhere.c", Compiler::Gcc)?;
    let mut program = Program::start_file(&executable, &["keeps"], libs, &["libjemalloc.so.2"])?;
    let agent = Agent::attach(&[program.pid()], &FLAGS)?;
    program.begin()?;
    thread::sleep(110 * EPOCH);
    let report = agent.stop()?;
    for _ in 0..2 {
        program.begin()?;
    }
    program.finish()?;
    program.end()?;
    let said = at_site(&report, "leak_request")?;
    assert_eq!(said.evidence["verified"]["by"], "impossible", "{}", said.evidence);
    ensure!(
        said.text.contains("Not held against the allocator's own state: it is not of glibc"),
        "{}",
        said.text
    );
    Ok(())
}

#[test]
fn survivors_in_v8s_heap_are_said_to_be_known_by_its_own_marks() -> Result<()> {
    needs_root();
    let Some(node) = node(20) else { return Ok(()) };
    let mut program = Program::node_with(&node, &["--expose-gc"], "zoo.js", &["steady", "30"])?;
    let flags = ["--only", "javascript", "--js-interval", "1KiB"];
    let agent = Agent::attach(&[program.pid()], &flags)?;
    program.begin()?;
    thread::sleep(Duration::from_secs(10));
    let report = agent.stop()?;
    program.begin()?;
    program.finish()?;
    program.end()?;
    let javascript: Vec<&Verdict> =
        report.verdicts.iter().filter(|verdict| verdict.heap == "javascript").collect();
    ensure!(!javascript.is_empty(), "nothing was judged");
    for verdict in javascript {
        assert_eq!(verdict.evidence["verified"]["by"], "collector", "{}", verdict.text);
    }
    Ok(())
}
