//! Frames of WebAssembly, against `Error.stack` in what they call.

use std::path::Path;

use serde::Deserialize;
use tests_kernel::{
    on_every_node,
    report::{Frame, Stack},
};

use super::{at, traced};

on_every_node! { functions_of_webassembly_are_named_as_in_error_stack }

const FILE: &str = "v8_wasm.js";

/// What the program tells of one of its functions that leak: how the frames below it are named, innermost first.
#[derive(Deserialize)]
struct Told {
    leak: String,
    /// Which V8 puts before the functions' names, as they are in the URL.
    module: String,
    frames: Vec<Named>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Named {
    function: String,
    file: String,
}

impl Told {
    /// Functions without a name have that of their export, if there is one: V8 has only their number.
    fn expected(&self) -> Vec<Named> {
        let prefix = format!("{}.", self.module);
        let name = |function: &str| match function {
            "wasm-function[2]" => "run".to_owned(),
            _ => function.strip_prefix(&prefix).unwrap_or(function).to_owned(),
        };
        let frames = self.frames.iter();
        frames
            .map(|Named { function, file }| Named { function: name(function), file: file.clone() })
            .collect()
    }
}

/// Of the frames between the two functions of JavaScript.
fn between(stack: &Stack, leak: &str) -> Vec<Named> {
    let is = |frame: &Frame, name: &str| frame.function.as_deref() == Some(name);
    let after = stack.frames.iter().skip_while(|frame| !is(frame, leak)).skip(1);
    let frames = after.take_while(|frame| !is(frame, "through"));
    // V8's own builtins are native functions there.
    let frames =
        frames.filter(|frame| !frame.function.as_deref().is_some_and(|name| name.starts_with("Builtins_")));
    // Not in all versions, nor for each call, has what passes it on a frame.
    let frames = frames.filter(|frame| !is(frame, "js-to-wasm") && !is(frame, "wasm-to-js"));
    let named = |frame: &Frame| Named {
        function: frame.function.clone().unwrap_or_default(),
        file: frame.file.clone().unwrap_or_default(),
    };
    frames.map(|frame| named(frame)).collect()
}

fn functions_of_webassembly_are_named_as_in_error_stack(major: u32, node: &Path) {
    let (mut program, report) = traced(node, &[], FILE);
    program.end().unwrap();
    let told = program.truth.other.iter().filter_map(|one| Told::deserialize(one).ok());
    let told: Vec<Told> = told.collect();
    assert_eq!(told.len(), 3, "node {major}");
    for told in told {
        assert_eq!(told.frames.len(), 2, "node {major}: {:?}", told.frames);
        let (expected, mut all, mut named) = (told.expected(), 0, 0);
        for stack in at(&report, FILE, &told.leak) {
            let found = between(stack, &told.leak);
            all += stack.sums.allocs;
            named += if found == expected { stack.sums.allocs } else { 0 };
            if found != expected {
                println!("node {major}: {found:?}\ninstead {expected:?}");
            }
        }
        println!("node {major}: {all} samples in {}, {named} with all names", told.leak);
        assert!(all > 100, "node {major}: {}", report.overview());
        assert_eq!(named, all, "node {major}: {}", report.overview());
    }
}
