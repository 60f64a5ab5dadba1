//! What leaktrace itself uses, under the names that every exporter gives it.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::counter::Counter,
    registry::{Registry, Unit},
};

use super::Real;

/// See <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// CPU time, of all threads.
    pub cpu: Duration,
    /// Bytes.
    pub resident: u64,
}

pub(super) fn register(own: Own, registry: &mut Registry) {
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(own.cpu.as_secs_f64());
    registry.register_with_unit("process_cpu", "CPU time that leaktrace itself took", Unit::Seconds, cpu);
    let resident = Real::default();
    resident.set(own.resident as f64);
    registry.register_with_unit(
        "process_resident_memory",
        "Memory that leaktrace itself has",
        Unit::Bytes,
        resident,
    );
}
