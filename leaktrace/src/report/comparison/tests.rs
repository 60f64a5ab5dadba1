//! Two traces of one small program, of another pid, at other addresses, and with another folder.

use super::*;
use crate::report::{
    Colour, Options,
    tests::{judged::judged, report},
};

/// The report's world, as another process of a later build.
fn moved(mut report: Report) -> Report {
    for process in &mut report.processes {
        (process.pid, process.process) = (process.pid + 7, process.process + 7);
    }
    for stack in &mut report.stacks {
        (stack.pid, stack.process) = (stack.pid + 7, stack.process + 7);
        stack.stack = stack.stack.replace("0x0", "0x7");
    }
    for frame in &mut report.frames {
        frame.address = format!("0x7{}", &frame.address[2..]);
        frame.module = frame.module.as_ref().map(|module| format!("/opt/new{module}"));
    }
    report
}

fn text(comparison: &Comparison) -> String {
    let (mut out, style) = (Vec::new(), Text { top: 2, verbose: false, colour: Colour::Never, width: 100 });
    comparison.write_text(&style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_same_program_elsewhere_differs_in_nothing() {
    let before = report(Options::default(), 0);
    let comparison = Comparison::between(&before, &moved(before.clone()));
    assert_eq!((comparison.stacks.len(), comparison.change), (0, Change::default()));
    assert!(text(&comparison).contains("no stack holds more or less"), "{}", text(&comparison));
}

#[test]
fn what_grew_is_first_and_what_went_is_told_too() {
    let before = report(Options::default(), 0);
    let mut after = moved(before.clone());
    let grown = after.stacks.iter_mut().max_by_key(|stack| stack.frames.len()).unwrap();
    grown.totals.live_bytes += 5000;
    grown.totals.live_blocks += 5;
    after.stacks.retain(|stack| stack.kind != "mapping");
    let comparison = Comparison::between(&before, &after);
    let changes: Vec<i64> = comparison.stacks.iter().map(|one| one.change.bytes).collect();
    assert_eq!(changes, [5000, -8192]);
    assert_eq!(comparison.change, Change { blocks: 4, bytes: 5000 - 8192 });
    insta::assert_snapshot!(text(&comparison));
}

#[test]
fn two_processes_with_one_stack_are_one() {
    let before = report(Options::default(), 0);
    let mut after = before.clone();
    let mut second = moved(before.clone());
    after.processes.append(&mut second.processes);
    after.stacks.append(&mut second.stacks);
    let comparison = Comparison::between(&before, &after);
    for one in &comparison.stacks {
        assert_eq!(one.after.live_bytes, 2 * one.before.live_bytes, "{:?}", one.path);
    }
    assert_eq!(comparison.change.bytes.cast_unsigned(), before.totals.live_bytes);
}

#[test]
fn verdicts_come_and_go() {
    let [quiet, leaking] = [4, 100].map(|epochs| judged(epochs, false, 0));
    let said = |before, after| {
        let judged = Comparison::between(before, after).verdicts;
        judged.iter().map(|one| (one.before.is_some(), one.after.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(said(&quiet, &leaking), [(false, true)]);
    assert_eq!(said(&leaking, &quiet), [(true, false)]);
    assert_eq!(said(&leaking, &moved(leaking.clone())), [(true, true)]);
    let text = text(&Comparison::between(&quiet, &leaking));
    assert!(text.contains("\nnew: "), "{text}");
}

#[test]
fn the_json_keeps_to_its_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../schema/diff-v1.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let (quiet, leaking) = (report(Options::default(), 0), judged(100, false, 0));
    for comparison in [Comparison::between(&quiet, &leaking), Comparison::between(&leaking, &quiet)] {
        let mut out = Vec::new();
        comparison.write_json(&mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(!comparison.stacks.is_empty());
        if let Some(error) = schema.iter_errors(&json).next() {
            panic!("{error} at {}", error.instance_path());
        }
    }
}
