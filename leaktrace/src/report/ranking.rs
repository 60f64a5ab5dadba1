//! Which of many processes to look at first: those that leak, by how fast; then by what they keep.

use std::{cmp::Reverse, collections::HashMap};

use super::{Process, Report};

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

impl Ranked<'_> {
    fn kept(&self) -> u64 {
        self.live_bytes + self.javascript_bytes.unwrap_or(0)
    }

    /// Whether there is anything to say of it.
    pub(super) fn keeps_or_leaks(&self) -> bool {
        self.kept() > 0 || self.leaks + self.suspects > 0
    }
}

/// Every process of a report.
#[must_use]
pub fn ranking<'a>(report: &'a Report) -> Vec<Ranked<'a>> {
    let one = |process: &'a Process| Ranked {
        process,
        leaks: 0,
        suspects: 0,
        leaking: 0.0,
        live_bytes: 0,
        live_blocks: 0,
        javascript_bytes: process.javascript.as_ref().map(|_| 0),
    };
    let mut ranked: Vec<Ranked<'_>> = Vec::with_capacity(report.processes.len());
    ranked.extend(report.processes.iter().map(one));
    let at: HashMap<u32, usize> =
        ranked.iter().enumerate().map(|(at, one)| (one.process.process, at)).collect();
    for stack in &report.stacks {
        let Some(one) = at.get(&stack.process).and_then(|at| ranked.get_mut(*at)) else { continue };
        if stack.is_javascript() {
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
    ranked.sort_by(|a, b| {
        let calls = |one: &Ranked<'_>| Reverse((one.leaks > 0, one.suspects > 0));
        let by_rate = || b.leaking.total_cmp(&a.leaking);
        calls(a).cmp(&calls(b)).then_with(by_rate).then_with(|| b.kept().cmp(&a.kept()))
    });
    ranked
}
