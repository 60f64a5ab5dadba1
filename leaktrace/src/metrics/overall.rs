//! What is true of the whole trace: how much is traced, what that takes and what was lost.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use super::Real;
use crate::report::Report;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

pub(super) fn register(report: &Report, registry: &mut Registry) {
    let coverage = &report.coverage;
    registry.register(
        "build",
        "The leaktrace that traced",
        Info::new(vec![("version", report.leaktrace.to_string())]),
    );
    let traced = Real::default();
    traced.set(report.traced_ns as f64 / 1e9);
    registry.register_with_unit("traced", "Time since tracing began", Unit::Seconds, traced);
    let processes = Gauge::<i64>::default();
    processes.set(report.processes.len() as i64);
    registry.register("processes", "Processes that are traced or kept for what was said of them", processes);
    let ended = Counter::<u64>::default();
    ended.inc_by(coverage.ended_processes);
    registry.register("processes_ended", "Processes that ended and of which nothing was to be said", ended);
    let unread = Counter::<u64>::default();
    unread.inc_by(coverage.unread_processes);
    registry.register(
        "processes_unread",
        "Processes that could not be looked into and are not traced",
        unread,
    );
    let events = Family::<Kind, Counter>::default();
    events.get_or_create(&Kind { kind: "allocation" }).inc_by(coverage.allocs);
    events.get_or_create(&Kind { kind: "free" }).inc_by(coverage.frees);
    registry.register("events", "Allocations and frees that were seen", events);
    let lost = Counter::<u64>::default();
    lost.inc_by(coverage.lost);
    registry.register("events_lost", "Seen and not recorded: live bytes are inexact by it", lost);
    let counters = Family::<Cause, Counter>::default();
    for (counter, count) in &coverage.counters.0 {
        counters.get_or_create(&Cause { cause: counter.key() }).inc_by(*count);
    }
    registry.register("doubts", "Everything that was lost, doubtful or worth a number, by cause", counters);
    if let Some(cost) = &report.cost {
        for (name, help, ns) in [
            ("overhead_cpu", "CPU time that tracing took of the traced processes'", cost.spent_ns),
            ("traced_cpu", "CPU time that the traced processes took for themselves", cost.own_ns),
        ] {
            let taken = Counter::<f64, AtomicU64>::default();
            taken.inc_by(ns as f64 / 1e9);
            registry.register_with_unit(name, help, Unit::Seconds, taken);
        }
        let watched = Real::default();
        watched.set(cost.watched);
        registry.register_with_unit(
            "watched",
            "Part of the time in which native memory was watched: below 1 where that had to be kept within a budget",
            Unit::Ratios,
            watched,
        );
    }
}
