//! What a machine left, held against what its programs say of themselves.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests_kernel::{
    Report,
    report::Sums,
    truth::{Truth, differences},
};

use super::{Case, Way, machine::Ran};

/// What is wrong; nothing if all is well.
pub(crate) fn judge(ran: &Ran, cases: &[Case]) -> Vec<String> {
    match ran.verdict() {
        None => {
            return vec![format!(
                "the machine did not come to its end; its last lines:\n{}",
                ran.last_words()
            )];
        }
        Some(verdict) if !verdict.starts_with("OK ") => return vec![verdict.to_owned()],
        Some(_) => {}
    }
    let of_case = |case: &Case| match compare(ran, case) {
        Ok(wrong) => wrong.into_iter().map(|what| format!("{}: {what}", case.name)).collect(),
        Err(error) => vec![format!("{}: {error:#}", case.name)],
    };
    cases.iter().flat_map(of_case).collect()
}

fn compare(ran: &Ran, case: &Case) -> Result<Vec<String>> {
    let report = Report::read(&ran.result(&format!("{}.json", case.name)))?;
    let told = ran.result(&format!("{}.truth", case.name));
    let told = fs::read_to_string(&told).with_context(|| format!("no {}", told.display()))?;
    let mut truth = Truth::default();
    for line in told.lines().filter(|line| line.starts_with('{')) {
        truth.read(line)?;
    }
    ensure!(!truth.sites.is_empty(), "the program told no truth");
    if let Way::InWindows = case.way {
        return Ok(in_windows(&report, &truth));
    }
    let mut wrong = differences(&report, &truth);
    if case.source == "churn.c" {
        // Known without asking the program, so that a harness that compares nothing with nothing is found.
        let leaked = report.at("leak_small");
        let known =
            Sums { live_bytes: 240, live_blocks: 10, allocs: 10, alloc_bytes: 240, ..Sums::default() };
        if leaked != known {
            wrong.push(format!("leak_small: 2 threads leak 5 blocks of 24 bytes each, reported {leaked:?}"));
        }
    }
    Ok(wrong)
}

/// What is alive is an estimate where nothing was watched for a time.
fn in_windows(report: &Report, truth: &Truth) -> Vec<String> {
    let leaked: u64 = truth.sites.iter().map(|(_, sums)| sums.live_blocks).sum();
    let found = report.at("leak_record").live_blocks;
    let is_right = [
        ("was not paused", report.cost.as_ref().is_some_and(|cost| cost.pauses > 0)),
        ("went over its budget", report.cost.as_ref().is_some_and(|cost| cost.over_budget.is_none())),
        ("found none of what leaks", found > 0),
        ("found more than leaks", found < 2 * leaked),
    ];
    let wrong = is_right.iter().filter(|(_, is_right)| !is_right);
    wrong.map(|(what, _)| format!("tracing {what}: {found} of {leaked} blocks, {:?}", report.cost)).collect()
}
