//! One report in every form: what each holds, and that their sums are those of the report.

mod profiles;
mod readers;
mod sums;
mod world;

use world::world;

use super::*;
use crate::report::{
    Options,
    tests::{judged::judged, report, written},
};

fn folded(metric: Metric, report: &crate::report::Report) -> String {
    written(&Folded { metric }, report)
}

#[test]
fn folded_stacks_add_up_to_the_live_bytes() {
    let report = report(Options::default(), 0);
    let folded = folded(Metric::LiveBytes, &report);
    let sum: u64 = folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, report.totals.live_bytes);
    insta::assert_snapshot!(folded);
}

#[test]
fn equal_lines_are_merged() {
    let mut report = report(Options::default(), 0);
    let twin = report.stacks[0].clone();
    report.stacks.push(twin);
    let (one, two) = (1_048_576 + 64 + 48, 2 * (1_048_576 + 64 + 48));
    let folded = folded(Metric::LiveBytes, &report);
    assert!(folded.contains(&format!(" {two}\n")) && !folded.contains(&format!(" {one}\n")), "{folded}");
}

#[test]
fn frames_of_javascript_have_their_place_and_every_frame_its_kind() {
    let folded = folded(Metric::LiveBytes, &world());
    for part in [
        ";onRequest /app/server.js:12:7_[j];",
        ";keep /app/cache.js:3:15_[i];",
        ";parse_req;copy<a:b>_[i];malloc ",
        ";LazyCompile:other_[j];",
        ";V8's heap 3000\n",
    ] {
        assert!(folded.contains(part), "{part} in {folded}");
    }
}

#[test]
fn a_name_is_neither_a_comment_nor_a_number_nor_two_frames() {
    let mut report = world();
    report.processes[0].comm = "# x".to_owned();
    let inner = report.stacks[0].frames[0];
    report.frames[inner].function = Some("a;b\nc 12".to_owned());
    let folded = folded(Metric::LiveBytes, &report);
    assert!(folded.contains("_ x-1234;") && folded.contains(";a:b c 12_[i];"), "{folded}");
    let svg = written(&Flamegraph::default(), &report);
    let sum: u64 = Metric::LiveBytes.of(&report).iter().sum();
    assert!(svg.contains(&format!("total_samples=\"{sum}\"")), "nothing is passed over as a comment");
}

#[test]
fn leaked_bytes_are_those_of_the_stacks_that_a_verdict_names() {
    let report = world();
    let leaked = Metric::LeakedBytes.of(&report);
    let live = Metric::LiveBytes.of(&report);
    let members = &report.verdicts[0].members;
    for ((stack, leaked), live) in report.stacks.iter().zip(leaked).zip(live) {
        let is_member = stack.process == 1 && members.contains(&stack.stack);
        assert_eq!(leaked, if is_member { live } else { 0 }, "{}", stack.stack);
    }
    assert_eq!(Metric::LeakedBytes.of(&report).iter().sum::<u64>(), 500 * 48);
    let mut suppressed = report.clone();
    suppressed.verdicts[0].suppressed = Some("parse_req".to_owned());
    assert_eq!(Metric::LeakedBytes.of(&suppressed).iter().sum::<u64>(), 0);
    let suspect = judged(20, false, 0);
    assert_eq!(Metric::LeakedBytes.of(&suspect).iter().sum::<u64>(), 0);
}

#[test]
fn growth_is_what_came_since_the_mark_and_all_that_is_live_without_one() {
    let mut report = judged(100, false, 0);
    let grown = Metric::Growth.of(&report);
    assert_eq!(grown.iter().sum::<u64>(), 250 * 48);
    assert!(grown.contains(&(250 * 48)), "{grown:?}");
    report.diff = None;
    assert_eq!(Metric::Growth.of(&report), Metric::LiveBytes.of(&report));
    assert_eq!(Metric::Growth.of(&judged(100, true, 0)).iter().sum::<u64>(), 0, "what shrank");
}

#[test]
fn what_blocks_without_a_stack_grew_by_is_given_out_once() {
    let mut report = judged(100, false, 0);
    // As if two processes had such blocks: one id, and one change.
    let twin = report.stacks[0].clone();
    report.stacks.push(twin);
    assert_eq!(Metric::Growth.of(&report).iter().sum::<u64>(), 250 * 48);
}

#[test]
fn a_flame_graph_marks_what_a_verdict_names_and_colours_it() {
    let svg = written(&Flamegraph::default(), &world());
    let leak = svg.split("<title>").find(|part| part.starts_with("[LEAK] (")).unwrap();
    assert!(leak.starts_with("[LEAK] (24,000 bytes"), "{leak}");
    assert!(leak.contains("rgb(225,30,30)"), "{leak}");
    assert!(!svg.contains("[SUSPECT]"));
    let suspected = written(&Flamegraph::default(), &judged(20, false, 0));
    assert!(suspected.contains("<title>[SUSPECT] ("), "{suspected}");
    // The same report, the same picture.
    assert_eq!(svg, written(&Flamegraph::default(), &world()));
    // What flamegraph.pl reads from the end of a name is not shown.
    assert!(svg.contains("<title>onRequest /app/server.js:12:7 ("), "{svg}");
}

#[test]
fn what_changed_between_two_runs_is_told_whatever_their_pids() {
    let (before, mut after) = (judged(20, false, 0), judged(100, false, 0));
    for stack in &mut after.stacks {
        stack.pid = 99;
    }
    let drawn = |before, after| {
        let mut out = Vec::new();
        flamegraph::differential(before, after, Metric::LiveBytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let grown = drawn(&before, &after);
    let frame = grown
        .split("<title>")
        .find(|part| part.starts_with("copy<a:b> (") || part.starts_with("copy&lt;a:b&gt; ("))
        .unwrap();
    // 24,000 of 32,192 bytes, before 4,800.
    assert!(frame.contains("(24,000 bytes, 74.55%; +59.64%)"), "{frame}");
    let shrunk = drawn(&after, &before);
    assert!(shrunk.contains(" (4,800 bytes, 36.95%; -147.78%)"), "{shrunk}");
    let mut empty = after.clone();
    empty.stacks.clear();
    assert!(drawn(&after, &empty).contains("change of live bytes: nothing"));
}

#[test]
fn an_empty_report_can_be_written_in_every_form() {
    let mut empty = world();
    (empty.stacks, empty.frames, empty.verdicts, empty.processes) = Default::default();
    for metric in <Metric as clap::ValueEnum>::value_variants() {
        assert_eq!(folded(*metric, &empty), "");
        assert!(written(&Flamegraph { metric: *metric }, &empty).contains(": nothing</text>"));
        for exporter in all(*metric) {
            let mut out = Vec::new();
            exporter.write(&empty, &mut out).unwrap();
            assert!(!out.is_empty());
        }
    }
}

/// All that are profiles or pages.
fn all(metric: Metric) -> [Box<dyn crate::report::Exporter>; 4] {
    [
        Box::new(Pprof { metric }),
        Box::new(Speedscope { metric }),
        Box::new(HeapProfile { metric }),
        Box::new(Html { metric, history: None }),
    ]
}
