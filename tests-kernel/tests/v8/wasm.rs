//! Frames of WebAssembly.

use std::path::Path;

use tests_kernel::{on_every_node, report::Stack};

use super::traced;

on_every_node! { a_call_through_webassembly_shows_both_sides_and_what_is_between }

const FILE: &str = "v8_wasm.js";

fn a_call_through_webassembly_shows_both_sides_and_what_is_between(major: u32, node: &Path) {
    let (mut program, report) = traced(node, &[], FILE);
    program.end().unwrap();
    let of_leak = || {
        report.of_javascript().filter(|stack| {
            stack.innermost_in(FILE).is_some_and(|frame| frame.function.as_deref() == Some("leakFromWasm"))
        })
    };
    let is_whole = |stack: &&Stack| {
        let place = |function: &str| {
            stack.frames.iter().position(|frame| frame.function.as_deref() == Some(function))
        };
        let places = ["leakFromWasm", "wasm-function", "throughWasm"].map(place);
        places.iter().all(Option::is_some) && places.is_sorted()
    };
    let all: u64 = of_leak().map(|stack| stack.sums.allocs).sum();
    let whole: u64 = of_leak().filter(is_whole).map(|stack| stack.sums.allocs).sum();
    eprintln!("node {major}: {all} samples below WebAssembly, {whole} with its frame between");
    assert!(all > 100, "node {major}: {}", report.overview());
    assert_eq!(whole, all, "node {major}: {}", report.overview());
}
