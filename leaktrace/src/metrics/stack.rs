//! What is called a leak, or suspected: where and how fast.

use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{Real, STACKS};
use crate::{
    report::{Report, Verdict, VerdictFrame},
    symbolize::file_name,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Site {
    pid: u32,
    comm: String,
    heap: String,
    verdict: String,
    /// The innermost frame that all of it has in common: `function file:line`.
    site: String,
}

pub(super) fn register(report: &Report, registry: &mut Registry) {
    let rate = Family::<Site, Real>::default();
    let confidence = Family::<Site, Real>::default();
    let mut called: Vec<&Verdict> = report.verdicts.iter().filter(|verdict| verdict.is_bad()).collect();
    called.sort_by(|a, b| {
        b.is_leak().cmp(&a.is_leak()).then_with(|| b.bytes_per_second.total_cmp(&a.bytes_per_second))
    });
    for verdict in called.into_iter().take(STACKS) {
        let site = Site {
            pid: verdict.pid,
            comm: report.process(verdict.process).map_or_else(String::new, |process| process.comm.clone()),
            heap: verdict.heap.to_string(),
            verdict: verdict.verdict.to_string(),
            site: verdict.frames.first().map_or_else(|| "unknown".to_owned(), described),
        };
        // Two verdicts may begin in the same frame: together they leave the sum.
        rate.get_or_create(&site).inc_by(verdict.bytes_per_second);
        let known = confidence.get_or_create(&site);
        known.set(known.get().max(verdict.confidence));
    }
    registry.register(
        "stack_leaking_bytes_per_second",
        "What the stacks through a place leave in a second, by estimate: of leaks and suspects, the fastest",
        rate,
    );
    registry.register("stack_confidence", "Probability that it is a leak", confidence);
}

fn described(frame: &VerdictFrame) -> String {
    let module = || frame.module.as_deref().map(file_name).unwrap_or_default().to_owned();
    let function = frame.function.clone().unwrap_or_else(module);
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{function} {file}:{line}"),
        _ => function,
    }
}
