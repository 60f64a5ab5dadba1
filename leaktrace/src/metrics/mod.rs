//! A report as metrics that Prometheus reads, in the OpenMetrics text format.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>. A label's values are bounded: as many processes and
//! stacks as are worth a series ([`PROCESSES`], [`STACKS`]); the others are summed up.

mod overall;
mod process;
mod stack;

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{encoding::text::encode, metrics::gauge::Gauge, registry::Registry};

use crate::report::Report;

/// Processes with series of their own, as reports rank them.
pub const PROCESSES: usize = 100;
/// Stacks that are called a leak or suspected with series of their own, the fastest first.
pub const STACKS: usize = 50;

/// What [`text`] is, as HTTP names it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One that is no whole number.
type Real = Gauge<f64, AtomicU64>;

/// All metrics of a report.
///
/// # Errors
/// None that a `String` can have.
pub fn text(report: &Report) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("leaktrace");
    overall::register(report, &mut registry);
    process::register(report, &mut registry);
    stack::register(report, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
