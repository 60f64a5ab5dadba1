//! What a program says of itself, and how a report is held against it.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::report::{Report, Sums};

/// A line of a program: a site's numbers, a counter's value, or something that only its own test reads.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub sites: Vec<(String, Sums)>,
    /// By the allocator's function, for what no site can be told of.
    pub allocators: Vec<(String, Sums)>,
    pub counters: Vec<(String, u64)>,
    pub other: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Site {
        site: String,
        #[serde(flatten)]
        sums: Sums,
    },
    Allocator {
        allocator: String,
        #[serde(flatten)]
        sums: Sums,
    },
    Counter {
        counter: String,
        value: u64,
    },
    Other(serde_json::Value),
}

impl Truth {
    /// One line of a program's output.
    pub fn read(&mut self, line: &str) -> Result<()> {
        match serde_json::from_str(line).with_context(|| format!("not a line of truth: {line}"))? {
            Line::Site { site, sums } => self.sites.push((site, sums)),
            Line::Allocator { allocator, sums } => self.allocators.push((allocator, sums)),
            Line::Counter { counter, value } => self.counters.push((counter, value)),
            Line::Other(value) => self.other.push(value),
        }
        Ok(())
    }

    /// A number that the program told under this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.other.iter().find_map(|value| value.get(name)?.as_u64())
    }
}

/// Every site and counter to the byte, and nothing lost: what differs, one text each.
#[must_use]
pub fn differences(report: &Report, truth: &Truth) -> Vec<String> {
    let mut differs = Vec::new();
    for (site, told) in &truth.sites {
        let found = report.at(site);
        if found != *told {
            differs.push(format!("{site}:\n  is       {told:?}\n  reported {found:?}"));
        }
    }
    for (allocator, told) in &truth.allocators {
        let found = report.by(allocator);
        if found != *told {
            differs.push(format!("all of {allocator}:\n  is       {told:?}\n  reported {found:?}"));
        }
    }
    for (counter, told) in &truth.counters {
        let found = report.counter(counter);
        if found != *told {
            differs.push(format!("{counter}: is {told}, reported {found}"));
        }
    }
    if report.coverage.lost != 0 {
        differs.push(format!("{} lost: {:?}", report.coverage.lost, report.coverage.counters));
    }
    differs
}

/// # Panics
/// With all that differs.
pub fn assert_exact(report: &Report, truth: &Truth) {
    assert!(!truth.sites.is_empty(), "the program told no truth");
    let differs = differences(report, truth);
    assert!(
        differs.is_empty(),
        "the report differs from the truth:\n{}\n\nreported: {:?}\n{:?}\n{}",
        differs.join("\n"),
        report.totals,
        report.coverage,
        report.overview()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_truth_are_told_apart() {
        let mut truth = Truth::default();
        for line in [
            r#"{"site":"a","live_bytes":5,"live_blocks":1,"allocs":2,"alloc_bytes":9,"frees":1,"freed_bytes":4}"#,
            r#"{"counter":"FreeUnknown","value":3}"#,
            r#"{"rounds":7}"#,
        ] {
            truth.read(line).unwrap();
        }
        assert_eq!(truth.sites[0].0, "a");
        assert_eq!(truth.sites[0].1.live_bytes, 5);
        assert_eq!(truth.counters, [("FreeUnknown".to_owned(), 3)]);
        assert_eq!(truth.number("rounds"), Some(7));
    }
}
