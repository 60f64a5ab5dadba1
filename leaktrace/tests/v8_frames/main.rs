//! Every frame of a real node's stack, read from outside, against what V8 says of it (`Error.stack`).
//!
//! For each node under target/node/MAJOR/bin and the one on the PATH. Needs no root: a process may read the memory of
//! its child.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in helpers too")]

mod layout;
mod node;
mod record;
// The harness of the kernel tests is built on this crate and so cannot be a dependency.
#[path = "../../../tests-kernel/src/skip.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the harness, and `cargo xtask test` reads its mark"
)]
mod skip;

use std::collections::BTreeMap;

use leaktrace::runtime::v8::{Decoder, JsFrame, NotRead, Tier};
use serde_json::Value;

/// Frames of one tier: right in everything, all.
type Counts = BTreeMap<Tier, (usize, usize)>;

/// Runs the program on every node there is; gives V8's version, what was right, and what was not.
fn compare(arguments: &[&str]) -> Vec<(u32, Counts, Vec<String>)> {
    let mut results = Vec::new();
    for path in node::found() {
        let Some(binary) = layout::read(&path) else {
            eprintln!("{} has no V8 that can be read", path.display());
            continue;
        };
        let Some(node) = node::Node::start(&path, &binary, arguments) else {
            eprintln!("{} has not {arguments:?}", path.display());
            continue;
        };
        let mut decoder = Decoder::new(binary.layout.clone(), node.builtins.clone());
        let mut frames = Vec::new();
        for (seen, at) in node.frames(&binary) {
            if let Err(reason) = decoder.learn(&node.memory, &seen) {
                eprintln!("{}: {seen:?}: {reason}", path.display());
            }
            frames.extend(decoder.frame(&node.memory, seen.key, at));
        }
        let (counts, wrong) = judge(&node.said, &frames);
        let version = binary.layout.version.major;
        eprintln!("V8 {version} {arguments:?}: {counts:?}");
        if !wrong.is_empty() {
            wrong.iter().for_each(|wrong| eprintln!("    {wrong}"));
        }
        results.push((version, counts, wrong));
    }
    if results.is_empty() {
        skip::skip("node", &format!("no node is there that has {arguments:?}"));
    }
    results
}

/// Both from where one function calls first what asks V8, and then what waits.
fn judge(said: &[Value], read: &[JsFrame]) -> (Counts, Vec<String>) {
    let (mut counts, mut wrong) = (Counts::new(), Vec::new());
    let Some(wait) = read.iter().position(|frame| frame.function == "wait") else {
        return (counts, vec![format!("no wait: {read:#?}")]);
    };
    // The first is `capture`.
    let (said, mut read) = (&said[1..], read[wait + 1..].iter().peekable());
    for said in said {
        let is_builtin = said["line"].is_null();
        // Optimised code has builtins inlined without a trace in its positions; V8 makes their frames up from what it
        // would deoptimise to.
        let Some(read) = read.next_if(|read| !is_builtin || read.tier == Tier::Builtin) else {
            if !is_builtin {
                wrong.push(format!("no frame for {said}"));
            }
            continue;
        };
        let (right, all) = counts.entry(read.tier).or_default();
        *all += 1;
        if is_right(said, read, read.column) {
            *right += 1;
        } else if read.tier == Tier::Maglev && is_right(said, read, said_column(said)) {
            // Seen of a call in a loop in Maglev's code: its table gave the loop's position. Why is not known; V8 itself
            // asks what it would deoptimise to instead.
            eprintln!("column {:?} for {said}", read.column);
        } else {
            wrong.push(format!("{said} is not {read:?}"));
        }
    }
    wrong.extend(read.map(|read| format!("nothing is {read:?}")));
    (counts, wrong)
}

fn said_column(said: &Value) -> Option<u32> {
    said["column"].as_u64()?.try_into().ok()
}

fn is_right(said: &Value, read: &JsFrame, column: Option<u32>) -> bool {
    let function = match said["function"].as_str() {
        Some(name) => read.function == name,
        None => read.function.starts_with("(anonymous) ") || read.function == "(top level)",
    };
    let Some(line) = said["line"].as_u64() else {
        // A builtin.
        return function && read.tier == Tier::Builtin && read.file == "native";
    };
    let file = match (said["file"].as_str(), said["eval"].as_str()) {
        (Some(file), _) => read.file == file.trim_start_matches("file://"),
        // Ours leaves out the column.
        (None, Some(origin)) => {
            let origin = origin.rsplit_once(':').unwrap().0.replace("<anonymous>", "(top level)");
            read.file.trim_end_matches(')') == origin
        }
        (None, None) => false,
    };
    let place = (read.line.map(u64::from), column) == (Some(line), said_column(said));
    function && file && place && read.missing.is_none()
}

fn assert_all_right(results: &[(u32, Counts, Vec<String>)], tier: Tier, at_least: usize) {
    for (version, counts, wrong) in results {
        assert!(wrong.is_empty(), "V8 {version}: {wrong:#?}");
        let of_tier = counts.get(&tier).map_or(0, |(right, _)| *right);
        assert!(of_tier >= at_least, "V8 {version}: {counts:?}");
    }
}

#[test]
fn interpreted_frames_are_what_v8_says() {
    let results = compare(&["--no-opt", "--no-sparkplug", "chain.cjs", "interpreted"]);
    assert_all_right(&results, Tier::Interpreted, 20);
}

#[test]
fn frames_of_a_module_are_what_v8_says() {
    let results = compare(&["--no-opt", "--no-sparkplug", "module.mjs"]);
    assert_all_right(&results, Tier::Interpreted, 6);
}

#[test]
fn baseline_frames_are_what_v8_says() {
    let results = compare(&["--sparkplug", "--always-sparkplug", "--no-opt", "chain.cjs", "baseline"]);
    assert_all_right(&results, Tier::Baseline, 15);
}

#[test]
fn frames_of_maglev_are_what_v8_says() {
    let results = compare(&["--maglev", "--allow-natives-syntax", "chain.cjs", "maglev"]);
    assert_all_right(&results, Tier::Maglev, 5);
}

#[test]
fn frames_of_turbofan_are_what_v8_says() {
    let results = compare(&["--allow-natives-syntax", "chain.cjs", "turbofan"]);
    assert_all_right(&results, Tier::Turbofan, 5);
}

#[test]
fn a_function_that_was_never_read_is_said_to_be_unknown() {
    for path in node::found() {
        let Some(binary) = layout::read(&path) else { continue };
        let Some(node) = node::Node::start(&path, &binary, &["chain.cjs", "interpreted"]) else { continue };
        let mut decoder = Decoder::new(binary.layout.clone(), node.builtins.clone());
        for (seen, at) in node.frames(&binary) {
            let frames = decoder.frame(&node.memory, seen.key, at);
            assert!(frames.iter().any(|frame| frame.missing == Some(NotRead::NotLearned)), "{frames:?}");
        }
    }
}

#[test]
#[ignore = "writes what other tests read"]
fn record() {
    let path = node::found().into_iter().find(|path| path.ends_with("22/bin/node")).unwrap();
    let binary = layout::read(&path).unwrap();
    // Its path is recorded too.
    let script = "/tmp/chain.cjs";
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v8_frames/chain.cjs"), script).unwrap();
    let arguments = ["--allow-natives-syntax", script, "turbofan"];
    let node = node::Node::start(&path, &binary, &arguments).unwrap();
    let recorded = record::record(&node, &binary);
    assert!(recorded.len() < 200 << 10, "{} bytes", recorded.len());
    let to = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v8_frames/node-22.recorded");
    std::fs::write(to, recorded).unwrap();
}
