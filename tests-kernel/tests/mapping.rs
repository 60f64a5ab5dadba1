//! `--mmap`: mappings as a kind of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests_kernel::{Program, assert_exact, needs_root, report::Sums, trace};

#[test]
fn mappings_that_are_cut_grown_moved_and_mapped_over_are_exact() {
    needs_root();
    let mut program = Program::c("mmap.c").unwrap();
    let report = trace(&mut program, &["--mmap"]);
    assert_exact(&report, &program.truth);
    assert!(report.stacks_at("cut_head").all(|stack| stack.kind == "mapping"));
}

#[test]
fn mappings_are_left_out_unless_asked_for() {
    needs_root();
    let mut program = Program::c("mmap.c").unwrap();
    let report = trace(&mut program, &[]);
    assert_eq!(report.at("cut_head"), Sums::default());
}
