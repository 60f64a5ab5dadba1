//! `leaktrace demo`, the README's first command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use tests_kernel::{
    agent::{binary, run_command},
    needs_root,
    skip::skip,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Its first stack, that which holds the most.
fn demo(program: &str) -> String {
    needs_root();
    let mut command = Command::new(binary());
    command.args(["demo", "--duration", "4s", "--program", program]);
    let ended = run_command(&mut command, PATIENCE).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    ended.stdout.split("\n#2").next().unwrap().to_owned()
}

#[test]
fn the_native_demo_shows_the_function_that_leaks_first() {
    let first = demo("native");
    assert!(first.contains("open_session"), "{first}");
    assert!(!first.contains("stack ends early"), "{first}");
}

#[test]
fn the_node_demo_shows_the_javascript_function_that_leaks_first() {
    if Command::new("node").arg("--version").output().is_err() {
        skip("node", "there is no node in PATH");
        return;
    }
    let first = demo("node");
    assert!(first.contains("openSession") && first.contains("leak.js"), "{first}");
    assert!(!first.contains("stack ends early"), "{first}");
}
