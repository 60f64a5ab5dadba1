//! A report as metrics that Prometheus reads, in the OpenMetrics text format.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>. A label's values are bounded: as many processes and
//! stacks as are worth a series ([`PROCESSES`], [`STACKS`]); the others are summed up.

mod overall;
mod own;
mod process;
mod stack;

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{encoding::text::encode, metrics::gauge::Gauge, registry::Registry};

pub use self::own::Own;
use crate::report::Report;

/// Processes with series of their own, as reports rank them.
pub const PROCESSES: usize = 100;
/// Stacks that are called a leak or suspected with series of their own, the fastest first.
pub const STACKS: usize = 50;

/// What [`text`] is, as HTTP names it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One that is no whole number.
type Real = Gauge<f64, AtomicU64>;

/// All metrics of a report, and what leaktrace uses itself.
///
/// # Errors
/// None that a `String` can have.
pub fn text(report: &Report, own: Option<Own>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    if let Some(own) = own {
        own::register(own, &mut registry);
    }
    let traced = registry.sub_registry_with_prefix("leaktrace");
    overall::register(report, traced);
    process::register(report, traced);
    stack::register(report, traced);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
