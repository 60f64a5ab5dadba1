//! What a stack counts for.

use std::collections::HashMap;

use clap::ValueEnum;

use super::marks::Marks;
use crate::{report::Report, verdict::stack_name};

/// The number that an export shows of each stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Bytes that are live
    #[default]
    LiveBytes,
    /// Blocks that are live; of JavaScript, samples
    LiveCount,
    /// Bytes allocated while tracing, freed or not
    AllocatedBytes,
    /// Bytes by which the stack grew since the mark, or since tracing began
    Growth,
    /// Live bytes of the stacks that are called LEAK or LEAK PROVEN
    LeakedBytes,
}

impl Metric {
    /// That of each of the report's stacks, in their order.
    ///
    /// Growth is what the report's difference says, at most what is shown as live: what shrank counts for nothing, as
    /// no flame has less than no width. Without a difference all that is live has grown. A suppressed verdict leaks
    /// nothing.
    #[must_use]
    pub fn of(self, report: &Report) -> Vec<u64> {
        let stacks = report.stacks.iter();
        match self {
            Self::LiveBytes => stacks.map(|stack| stack.totals.live_bytes).collect(),
            Self::LiveCount => stacks.map(|stack| stack.totals.live_blocks).collect(),
            Self::AllocatedBytes => stacks.map(|stack| stack.totals.alloc_bytes).collect(),
            Self::Growth => growth(report),
            Self::LeakedBytes => {
                let marks = Marks::of(report);
                stacks.map(|stack| if marks.is_leak(stack) { stack.totals.live_bytes } else { 0 }).collect()
            }
        }
    }

    /// As a person reads it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::LiveBytes => "live bytes",
            Self::LiveCount => "live blocks",
            Self::AllocatedBytes => "allocated bytes",
            Self::Growth => "growth in bytes",
            Self::LeakedBytes => "leaked bytes",
        }
    }

    #[must_use]
    pub const fn is_bytes(self) -> bool {
        !matches!(self, Self::LiveCount)
    }

    /// What one is called.
    pub(super) const fn unit(self) -> &'static str {
        if self.is_bytes() { "bytes" } else { "blocks" }
    }
}

fn growth(report: &Report) -> Vec<u64> {
    let Some(diff) = &report.diff else { return Metric::LiveBytes.of(report) };
    let grown = diff.stacks.iter().filter_map(|changed| {
        let bytes = u64::try_from(changed.change.bytes).ok()?;
        Some((stack_name(changed.stack), bytes))
    });
    let mut left: HashMap<String, u64> = grown.collect();
    // Blocks without a stack have one id in all processes: what they grew by is given out once.
    let mut of = |stack: &str, live: u64| {
        let left = left.get_mut(stack)?;
        let grown = live.min(*left);
        *left -= grown;
        Some(grown)
    };
    let stacks = report.stacks.iter();
    stacks.map(|stack| of(&stack.stack, stack.totals.live_bytes).unwrap_or_default()).collect()
}
