//! Which of many processes to look at first: those that leak, by how fast; then by what they keep.

use std::{cmp::Reverse, collections::HashMap};

use super::{Process, Report, build::JAVASCRIPT};

/// A process among others.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<'a> {
    pub process: &'a Process,
    /// What was called a leak, and what is suspected; suppressed ones left out.
    pub leaks: usize,
    pub suspects: usize,
    /// Of those together, in bytes per second.
    pub leaking: f64,
    /// Native memory allocated since tracing began that is live, in bytes, and how many blocks that is.
    pub live_bytes: u64,
    pub live_blocks: u64,
    /// The same of JavaScript heaps, by estimate; none where there is no such heap.
    pub javascript_bytes: Option<u64>,
}

/// Every process of a report.
#[must_use]
pub fn ranking(report: &Report) -> Vec<Ranked<'_>> {
    let of = |process| {
        let javascript_bytes = Process::has_javascript(process).then_some(0);
        Ranked { process, leaks: 0, suspects: 0, leaking: 0.0, live_bytes: 0, live_blocks: 0, javascript_bytes }
    };
    let mut ranked: Vec<Ranked<'_>> = report.processes.iter().map(of).collect();
    let at: HashMap<u32, usize> =
        ranked.iter().enumerate().map(|(at, one)| (one.process.process, at)).collect();
    for stack in &report.stacks {
        let Some(one) = at.get(&stack.process).and_then(|at| ranked.get_mut(*at)) else { continue };
        if stack.kind == JAVASCRIPT {
            *one.javascript_bytes.get_or_insert(0) += stack.totals.live_bytes;
        } else {
            one.live_bytes += stack.totals.live_bytes;
            one.live_blocks += stack.totals.live_blocks;
        }
    }
    for verdict in report.verdicts.iter().filter(|verdict| verdict.is_bad()) {
        let Some(one) = at.get(&verdict.process).and_then(|at| ranked.get_mut(*at)) else { continue };
        let kind = if verdict.is_leak() { &mut one.leaks } else { &mut one.suspects };
        *kind += 1;
        one.leaking += verdict.bytes_per_second;
    }
    let kept = |one: &Ranked<'_>| one.live_bytes + one.javascript_bytes.unwrap_or(0);
    ranked.sort_by(|a, b| {
        let calls = |one: &Ranked<'_>| Reverse((one.leaks > 0, one.suspects > 0));
        let by_rate = || b.leaking.total_cmp(&a.leaking);
        calls(a).cmp(&calls(b)).then_with(by_rate).then_with(|| kept(b).cmp(&kept(a)))
    });
    ranked
}

impl Process {
    pub(super) const fn has_javascript(&self) -> bool {
        self.javascript.is_some()
    }
}
