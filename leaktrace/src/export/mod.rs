//! Reports in the forms that other programs open: what each holds is told in `docs/exports.md`.
//!
//! Each exporter draws on the same stacks ([`paths`]), the same names ([`frames`]) and the same number a stack
//! ([`Metric`]), so that their sums are equal to the byte. All are pure: a report goes in, bytes come out.

pub mod flamegraph;
mod folded;
mod frames;
mod heapprofile;
mod history;
mod html;
mod marks;
mod metric;
mod paths;
mod pprof;
mod speedscope;

pub use flamegraph::Flamegraph;
pub use folded::Folded;
pub use heapprofile::HeapProfile;
pub use history::History;
pub use html::Html;
pub use metric::Metric;
pub use pprof::{Interval, Pprof};
pub use speedscope::Speedscope;

#[cfg(test)]
mod tests;
