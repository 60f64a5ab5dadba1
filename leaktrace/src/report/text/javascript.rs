//! What a process's JavaScript heap and its collections look like to a person.

use std::io::{self, Write};

use super::{Styles, printable};
use crate::report::{
    CollectionTotals, Estimate, JavaScript, Stack, Type,
    amount::{bytes, counted, pause},
};

/// Types named on a line; the others are in `--json`.
const TYPES: usize = 6;
/// The same of one stack.
const TYPES_OF_STACK: usize = 3;

/// Lines below the process.
pub(super) fn process(javascript: &JavaScript, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let JavaScript { engine, sample_interval, unseen, followed, sampled_bytes, live, types, .. } = javascript;
    let JavaScript { minor, major, samples, refills_seen, .. } = javascript;
    let Styles { amount, faint, warning } = styles;
    write!(out, "JavaScript ({}): {amount}", printable(engine))?;
    if *followed {
        let samples = counted(live.samples, "sample");
        write!(out, "{}{amount:#} live of what was allocated since, {faint}by {samples}", estimate(live))?;
    } else {
        let allocated = bytes(*sampled_bytes);
        write!(
            out,
            "{allocated}{amount:#} allocated; what lives of it is not known, {faint}stacks are in --json"
        )?;
    }
    // Large objects are samples all, and make them seem closer.
    let apart = sampled_bytes.checked_div(*samples).unwrap_or_default().max(*sample_interval);
    write!(out, ", one in {}", bytes(apart))?;
    if *refills_seen < 1.0 {
        write!(out, ", taken in {:.0} % of the time", 100.0 * refills_seen)?;
    }
    writeln!(out, "{faint:#}")?;
    if let Some(named) = named(types, TYPES) {
        writeln!(out, "  by type: {named}")?;
    }
    if minor.count + major.count > 0 {
        writeln!(out, "  collections: {}; {}", totals(minor, "minor"), totals(major, "major"))?;
    }
    for what in unseen {
        writeln!(out, "  {warning}not seen: {}{warning:#}", printable(what))?;
    }
    Ok(())
}

/// What stands where other stacks have blocks.
pub(super) fn stack(stack: &Stack) -> String {
    let live = Estimate {
        bytes: stack.totals.live_bytes,
        error_bytes: stack.error_bytes.unwrap_or_default(),
        samples: stack.totals.live_blocks,
    };
    let types = named(&stack.types, TYPES_OF_STACK).map_or_else(String::new, |named| format!("  {named}"));
    format!("{} of JavaScript in {}{types}", estimate(&live), counted(live.samples, "sample"))
}

fn estimate(live: &Estimate) -> String {
    match live.error_bytes {
        0 => bytes(live.bytes),
        error => format!("{} ± {}", bytes(live.bytes), bytes(error)),
    }
}

fn named(types: &[Type], most: usize) -> Option<String> {
    let shown: Vec<String> = types
        .iter()
        .take(most)
        .map(|kind| format!("{} {}", printable(&kind.name), bytes(kind.live.bytes)))
        .collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

fn totals(totals: &CollectionTotals, kind: &str) -> String {
    let CollectionTotals { count, p50_ns, p99_ns, max_ns, .. } = *totals;
    match count {
        0 => format!("no {kind} ones"),
        _ => format!(
            "{count} {kind}, paused {} (median), {} (p99), {} (longest)",
            pause(p50_ns),
            pause(p99_ns),
            pause(max_ns)
        ),
    }
}
