//! Adding up what test runs say.

use std::{fmt, ops::AddAssign};

use anyhow::Result;
use tests_kernel::skip;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// `test a_name ... FAILED`
pub(super) fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// `running 3 tests`
pub(super) fn is_start(line: &str) -> bool {
    let number = line.strip_prefix("running ").and_then(|rest| rest.split_once(" test"));
    number.is_some_and(|(number, plural)| number.parse::<u64>().is_ok() && matches!(plural, "" | "s"))
}

impl Counts {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    pub(super) fn from_libtest(line: &str) -> Option<Self> {
        let mut counts = Self::default();
        let (_verdict, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        for part in numbers.split("; ") {
            let (number, what) = part.split_once(' ')?;
            match what {
                "passed" => counts.passed = number.parse().ok()?,
                "failed" => counts.failed = number.parse().ok()?,
                "ignored" => counts.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(counts)
    }

    /// Whether a test says here that it left itself out. Without threads the harness has begun the line with its name.
    pub(super) fn is_skip(line: &str) -> bool {
        line.contains(skip::MARK)
    }

    /// So many of what passed did nothing but say that they were left out.
    pub(super) fn left_out(self, tests: u64) -> Self {
        let tests = tests.min(self.passed);
        Self { passed: self.passed - tests, skipped: self.skipped + tests, ..self }
    }

    /// Counts a check that is no test of libtest.
    pub(super) fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                println!("check {name} ... ok");
                self.passed += 1;
            }
            Err(error) => {
                println!("check {name} ... FAILED: {error:#}");
                self.failed += 1;
            }
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, Self { passed, failed, skipped }: Self) {
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_failed_test_is_read() {
        assert_eq!(failed("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed("test a::b ... ok"), None);
    }

    #[test]
    fn the_start_of_a_binarys_tests_is_told_from_other_lines() {
        assert!(is_start("running 3 tests") && is_start("running 1 test"));
        assert!(!is_start("running three tests") && !is_start("running 3 tests again"));
    }

    #[test]
    fn a_result_line_of_libtest_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(Counts::from_libtest(line), Some(Counts { passed: 12, failed: 3, skipped: 1 }));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(Counts::from_libtest("test result_of_it ... ok"), None);
        assert_eq!(Counts::from_libtest("running 3 tests"), None);
    }

    #[test]
    fn a_test_that_leaves_itself_out_is_skipped_and_has_not_passed() {
        let line = format!("test profile::node_18 ... {}profile::node_18: there is no node 18", skip::MARK);
        assert!(Counts::is_skip(&line) && !Counts::is_skip("test profile::node_18 ... ok"));
        let counts = Counts { passed: 3, failed: 1, skipped: 1 };
        assert_eq!(counts.left_out(2), Counts { passed: 1, failed: 1, skipped: 3 });
    }

    #[test]
    fn sums_print_as_one_plain_line() {
        let mut sum = Counts { passed: 1, failed: 0, skipped: 2 };
        sum += Counts { passed: 2, failed: 1, skipped: 0 };
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
