//! What each process keeps and leaks.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{PROCESSES, Real};
use crate::report::{
    Report,
    ranking::{Ranked, ranking},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Memory {
    pid: u32,
    comm: String,
    heap: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    pid: u32,
    comm: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Process {
    pid: u32,
    comm: String,
}

pub(super) fn register(report: &Report, registry: &mut Registry) {
    let live = Family::<Memory, Gauge>::default();
    let blocks = Family::<Process, Gauge>::default();
    let called = Family::<Called, Gauge>::default();
    let leaking = Family::<Process, Real>::default();
    let ranked = ranking(report);
    let (own, others) = ranked.split_at(PROCESSES.min(ranked.len()));
    for Ranked { process, leaks, suspects, leaking: rate, live_bytes, live_blocks, javascript_bytes } in own {
        let (pid, comm) = (process.pid, process.comm.clone());
        let memory = |heap| Memory { pid, comm: comm.clone(), heap };
        live.get_or_create(&memory("native")).set(*live_bytes as i64);
        if let Some(estimate) = javascript_bytes {
            live.get_or_create(&memory("javascript")).set(*estimate as i64);
        }
        for (verdict, number) in [("leak", *leaks), ("suspect", *suspects)] {
            called.get_or_create(&Called { pid, comm: comm.clone(), verdict }).set(number as i64);
        }
        let process = Process { pid, comm };
        blocks.get_or_create(&process).set(*live_blocks as i64);
        leaking.get_or_create(&process).set(*rate);
    }
    registry.register_with_unit(
        "process_live",
        "Memory allocated since tracing began that is live; of JavaScript heaps by estimate",
        Unit::Bytes,
        live,
    );
    registry.register(
        "process_live_blocks",
        "Blocks of native memory allocated since tracing began that are live",
        blocks,
    );
    registry.register("process_verdicts", "Places in the code that are called a leak, or suspected", called);
    registry.register(
        "process_leaking_bytes_per_second",
        "What those leave together in a second, by estimate",
        leaking,
    );
    let rest = Gauge::<i64>::default();
    rest.set(others.iter().map(|one| one.live_bytes).sum::<u64>() as i64);
    registry.register_with_unit(
        "other_processes_live",
        "Native memory of the processes that have no series of their own",
        Unit::Bytes,
        rest,
    );
}
