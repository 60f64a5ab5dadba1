//! Reports with verdicts, memwatch's early sign and differences, as data and as text.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::*;
use crate::{
    event::Collection,
    judge::{self, Judges},
    verdict::{HeapDiff, HeapMoment, Point, Suppressions},
};

/// So many epochs of a second in which `PARSE` leaves five blocks each; in the last one all but the last five are freed
/// if `freed`.
pub(crate) fn judged(epochs: u64, freed: bool, lost: u64) -> Report {
    let mut ledger = Ledger::new(4096);
    events().iter().for_each(|event| ledger.apply(event));
    let mut judges = Judges::new(judge::Options {
        epoch: std::time::Duration::from_secs(1),
        min_rate: 1.0,
        consecutive: (5, 0.0),
        suppressions: Suppressions::default(),
    });
    let names = names();
    let mut mark = HeapMoment::new(0);
    for epoch in 1..=epochs {
        let first = if freed && epoch == epochs { 5 * (epoch - 1) } else { 0 };
        let blocks = (first..5 * epoch).map(|number| {
            let born = S + number * S / 5;
            (BlockKey::new(PROCESS, number * 64), Block { size: 48, stack: PARSE.0, born })
        });
        let mut entry = StackEntry {
            allocs: 5 * epoch,
            alloc_bytes: 5 * 48 * epoch,
            frees: first,
            freed_bytes: 48 * first,
            process: 1,
            ..StackEntry::default()
        };
        entry.deaths[16] = first as u32;
        let mut snapshot = Snapshot {
            at: S + epoch * S,
            stacks: vec![(PARSE, entry)],
            blocks: blocks.collect(),
            ..Snapshot::default()
        };
        snapshot.counters[Counter::ImplicitFree as usize] = lost * epoch;
        ledger.snapshot(snapshot);
        judges.end_epoch(&ledger, &names);
        judges.hear(&collection(epoch));
        if epoch == epochs / 2 {
            mark = Report::moment(&ledger, &names);
        }
    }
    let mut report = Report::new(&ledger, &names, Options::default()).with_verdicts(&judges, &names, &ledger);
    let end = Report::moment(&ledger, &names);
    report.diff = Some(HeapDiff::between((Point::Mark, &mark), (Point::End, &end)));
    report
}

fn collection(number: u64) -> Collection {
    Collection {
        process: PROCESS,
        heap: 0xa000,
        tid: 1234,
        collector: Collection::MARK_COMPACTOR,
        reason: 1,
        began: number * S,
        ended: number * S,
        before: None,
        after: Some(1_000_000 * number),
        looked_at: 0,
        died: 0,
        looking_ns: 0,
    }
}

/// Each verdict that these stretches of one program come to.
fn all() -> [(&'static str, Report); 5] {
    [
        ("COLLECTING", judged(4, false, 0)),
        ("SUSPECT", judged(20, false, 0)),
        ("LEAK", judged(100, false, 0)),
        ("TAKEN BACK", judged(100, true, 0)),
        ("SUSPECT", judged(100, false, 1)),
    ]
}

#[test]
fn verdicts_growth_and_differences_keep_to_the_published_schema() {
    let validator = validator();
    let mut states = BTreeSet::new();
    for (verdict, report) in all() {
        let json: Value = serde_json::from_str(&written(&Json, &report)).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{verdict}: {errors:#?}");
        let one = &json["verdicts"][0];
        assert_eq!(one["verdict"], verdict, "{one:#}");
        states.insert(one["state"]["is"].as_str().unwrap().to_owned());
        assert!(!json["diff"]["stacks"].as_array().unwrap().is_empty());
        assert_eq!(json["growing"].as_array().unwrap().len(), usize::from(report.traced_ns > 5 * S));
    }
    let states: Vec<&str> = states.iter().map(String::as_str).collect();
    assert_eq!(states, ["collecting", "leak", "suspect", "taken_back"]);
}

#[test]
fn the_schema_tells_a_verdict_without_its_reason_from_one_with_it() {
    let (_, report) = &all()[1];
    let mut json: Value = serde_json::from_str(&written(&Json, report)).unwrap();
    assert_eq!(json["verdicts"][0]["state"]["lacking"]["what"], "epochs");
    json["verdicts"][0]["state"]["lacking"].take();
    assert!(!validator().is_valid(&json));
}

#[test]
fn stacks_of_verdicts_and_differences_are_found_among_the_stacks_by_their_ids() {
    let json: Value = serde_json::from_str(&written(&Json, &judged(100, false, 0))).unwrap();
    let list = |value: &Value, key: &str| -> HashSet<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| if key.is_empty() { one } else { &one[key] }.as_str().unwrap().to_owned()).collect()
    };
    let stacks = list(&json["stacks"], "stack");
    assert_eq!(list(&json["verdicts"][0]["members"], ""), HashSet::from(["0x0000000000000001".to_owned()]));
    assert!(list(&json["verdicts"][0]["members"], "").is_subset(&stacks));
    assert!(list(&json["diff"]["stacks"], "stack").is_subset(&stacks));
    let taken_back: Value = serde_json::from_str(&written(&Json, &judged(100, true, 0))).unwrap();
    let state = &taken_back["verdicts"][0]["state"];
    assert_eq!((&state["was"]["leak"], &state["because"]["deaths"]), (&true.into(), &495.into()));
}

#[test]
fn a_difference_is_told_by_size_class_and_by_stack_with_what_shrank_too() {
    let grown = written(&PLAIN, &judged(100, false, 0));
    insta::assert_snapshot!(part(&grown));
    let shrunk = written(&PLAIN, &judged(100, true, 0));
    let lines: Vec<&str> = shrunk.lines().skip_while(|line| !line.starts_with("change ")).take(4).collect();
    assert!(lines[0].ends_with(": -11.5 KiB"), "{lines:#?}");
    assert!(lines[1].ends_with("-245 blocks  33 to 64 bytes"), "{lines:#?}");
    assert!(lines[3].ends_with("-245 blocks  copy<a;b> < parse_req < main"), "{lines:#?}");
}

fn part(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("change "));
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn mappings_are_told_apart_from_native_blocks_of_their_size() {
    let mut ledger = Ledger::new(4096);
    events().iter().for_each(|event| ledger.apply(event));
    ledger.snapshot(snapshot(0));
    let (start, end) = (HeapMoment::new(S), Report::moment(&ledger, &names()));
    let diff = HeapDiff::between((Point::Start, &start), (Point::End, &end));
    let what: Vec<&str> = diff.types.iter().map(|changed| changed.what.as_str()).collect();
    assert!(what.contains(&"mapping of 4097 to 8192 bytes"), "{what:?}");
    assert!(what.contains(&"33 to 64 bytes"), "{what:?}");
}

#[test]
fn memory_without_a_stack_is_said_not_to_be_judged() {
    let (_, judged) = &all()[1];
    assert!(!written(&PLAIN, judged).contains("not judged"));
    let mut report = report(Options::default(), 0);
    report.judged = true;
    assert!(written(&PLAIN, &report).contains("not judged: 10 B live without a known stack"));
}
