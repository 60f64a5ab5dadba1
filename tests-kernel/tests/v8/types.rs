//! What lives is called by its type, also where V8's build names none.

use std::path::Path;

use tests_kernel::on_every_node;

use super::traced;

on_every_node! { what_collections_and_closures_hold_their_memory_in_has_a_name }

const FILE: &str = "v8_types.js";

/// By which function, what most of its bytes are.
const EXPECTED: [(&str, &str); 5] = [
    ("fillMaps", "table of a Map or Set"),
    ("fillWeakMaps", "table of a WeakMap or WeakSet"),
    ("fillDictionaries", "properties of an object"),
    ("fillSparseArrays", "properties of an object"),
    ("fillClosures", "variables of closures"),
];

fn what_collections_and_closures_hold_their_memory_in_has_a_name(major: u32, node: &Path) {
    let (mut program, report) = traced(node, &[], FILE);
    program.end().unwrap();
    for (function, expected) in EXPECTED {
        let inside = |stack: &&tests_kernel::report::Stack| {
            stack.frames.iter().any(|frame| frame.function.as_deref() == Some(function))
        };
        let types = || report.of_javascript().filter(inside).flat_map(|stack| &stack.types);
        let all: u64 = types().map(|one| one.live.bytes).sum();
        let known: u64 = types().filter(|one| one.name == expected).map(|one| one.live.bytes).sum();
        eprintln!("node {major}: {function}: {known} of {all} are {expected}");
        assert!(known * 2 > all, "node {major}: of {function} {:?}", types().collect::<Vec<_>>());
    }
    let own = report.javascript(program.pid()).expect("V8 is found");
    let unknown: Vec<_> = own.types.iter().filter(|one| one.name.starts_with("unknown")).collect();
    assert!(unknown.is_empty(), "node {major}: {unknown:?}");
}
