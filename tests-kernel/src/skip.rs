//! A test that lacks what it needs says so where `cargo xtask test` counts it: it is no test that passed. Where
//! `.ci/run` fetched the thing it fails.

use std::{io::Write as _, thread};

/// What `cargo xtask test` looks for in the output of tests.
pub const MARK: &str = "skipped by itself: ";

/// Names, with spaces between, of what has to be there: `node-20`, `crawler`, ...
const EXPECTED: &str = "LEAKTRACE_EXPECTED";

/// Whether the lack of it is a failure.
#[must_use]
pub fn is_expected(lacks: &str) -> bool {
    is_among(lacks, &std::env::var(EXPECTED).unwrap_or_default())
}

fn is_among(lacks: &str, expected: &str) -> bool {
    expected.split_whitespace().any(|name| name == lacks)
}

/// Says that this test is left out. To be called once in each such test.
///
/// # Panics
/// If what is lacking should be there.
pub fn skip(lacks: &str, why: &str) {
    assert!(!is_expected(lacks), "{EXPECTED} names {lacks}, but {why}");
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by println!, which the test harness keeps to itself where a test passes.
    let _ = std::io::stdout().write_all(format!("{MARK}{test}: {why}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_named_as_a_whole() {
        assert!(is_among("node-20", "crawler node-20"));
        assert!(!is_among("node-2", "crawler node-20"));
        assert!(!is_among("node-20", ""));
    }
}
