//! `leaktrace demo`, the README's first command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use tests_kernel::{
    agent::{binary, run_command},
    needs_root,
    skip::skip,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Its verdict of this function is that it leaks, and its first stack, that which holds the most, has it.
fn is_found(program: &str, function: &str) {
    needs_root();
    let mut command = Command::new(binary());
    command.args(["demo", "--program", program]);
    let ended = run_command(&mut command, PATIENCE).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let said = &ended.stdout;
    let is_called = |line: &str| line.starts_with("LEAK") && line.contains(function);
    assert!(said.lines().any(is_called), "{said}");
    let first = said.split("\n#2").next().unwrap().split("\n#1").nth(1).unwrap();
    assert!(first.contains(function), "{first}");
    assert!(!first.contains("stack ends early"), "{first}");
}

#[test]
fn the_native_demo_calls_the_function_that_leaks_a_leak() {
    is_found("native", "open_session");
}

#[test]
fn the_node_demo_calls_the_javascript_function_that_leaks_a_leak() {
    if Command::new("node").arg("--version").output().is_err() {
        skip("node", "there is no node in PATH");
        return;
    }
    is_found("node", "openSession");
}
