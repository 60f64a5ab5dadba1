//! One small world, rendered in every way.

pub(crate) mod judged;

use leaktrace_common::{
    counter::Counter,
    hook::Shape,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{StackEntry, StackId, StopReason},
};

use super::*;
use crate::{
    attribute::{BinaryId, Place},
    event::{
        Backing, Binary, Event, FileOffset, Hooked, Mapping, Mappings, Region, Snapshot, Stack as StackEvent,
        Traced,
    },
    export::Folded,
    heap_reader::{Growth, SizeClass},
    ledger::Ledger,
    symbolize::{Name, Named, Names, NoName},
};

const S: u64 = 1_000_000_000;
const PROCESS: ProcessId = ProcessId(1);
const PARSE: StackId = StackId(1);
const EARLY: StackId = StackId(2);
const QUIET: StackId = StackId(3);
const MAPS: StackId = StackId(4);

fn taken(id: StackId, hook: u16, stop: StopReason, addresses: &[u64]) -> Event {
    let words = addresses.to_vec();
    Event::Stack(StackEvent { id, process: PROCESS, tgid: 1234, hook, stop, words })
}

fn events() -> Vec<Event> {
    let mapping = |start, backing| Mapping { start, end: start + 0x1000, offset: FileOffset(0), backing };
    let hooked = |number, function: &str| {
        Event::Hooked(Hooked { number, function: function.into(), javascript: false })
    };
    vec![
        Event::Traced(Traced {
            process: PROCESS,
            pid: 1234,
            comm: "ser;ver".into(),
            command: "server --port 80".into(),
            at: S,
        }),
        hooked(0, "malloc"),
        hooked(1, "mmap"),
        Event::Binary(Binary { id: BinaryId(1), path: "/usr/bin/server".into() }),
        Event::Binary(Binary { id: BinaryId(2), path: "/usr/lib/libstripped.so.1".into() }),
        Event::Mappings(Mappings {
            whole: false,
            process: PROCESS,
            list: vec![
                mapping(0x1000, Backing::Binary(BinaryId(1))),
                mapping(0x4000, Backing::Binary(BinaryId(2))),
                mapping(0x8000, Backing::Anonymous),
            ],
        }),
        taken(PARSE, 0, StopReason::End, &[0x1101, 0x1201]),
        taken(EARLY, 0, StopReason::NoFramePointer, &[0x4011, 0x8001, 0xdead_beef]),
        taken(QUIET, 0, StopReason::End, &[0x1201]),
        taken(MAPS, 1, StopReason::End, &[0x1201]),
        Event::Region(Region {
            process: PROCESS,
            shape: Shape::Map,
            flags: 0,
            protection: 3,
            address: 0x7000_0000,
            length: 8192,
            old_address: 0,
            old_length: 0,
            stack: MAPS,
            entered: 30 * S,
            returned: 31 * S,
        }),
    ]
}

fn snapshot(lost: u64) -> Snapshot {
    let entry = |allocs, alloc_bytes, frees, freed_bytes| StackEntry {
        allocs,
        alloc_bytes,
        frees,
        freed_bytes,
        process: 1,
        ..StackEntry::default()
    };
    let block = |address, stack: StackId, size, born| {
        (BlockKey::new(PROCESS, address), Block { size, stack: stack.0, born: born * S })
    };
    let mut snapshot = Snapshot {
        at: 61 * S,
        stacks: vec![
            (PARSE, entry(5, 1_048_576 + 64 + 48 + 20, 2, 20)),
            (EARLY, entry(1, 4000, 0, 0)),
            (QUIET, entry(9, 900, 9, 900)),
            (StackId::UNKNOWN, entry(1, 10, 0, 0)),
        ],
        blocks: vec![
            block(1, PARSE, 1_048_576, 3),
            block(2, PARSE, 64, 30),
            block(3, PARSE, 48, 60),
            block(4, EARLY, 4000, 60),
            block(5, StackId::UNKNOWN, 10, 61),
        ],
        ..Snapshot::default()
    };
    snapshot.counters[Counter::FreeUnknown as usize] = 1234;
    snapshot.counters[Counter::Nested as usize] = 5;
    snapshot.counters[Counter::LiveFull as usize] = lost;
    snapshot
}

fn name(function: &str, code: Option<(&str, u32)>, inlined: bool) -> Name {
    Name {
        function: function.into(),
        file: code.map(|(file, _)| file.into()),
        line: code.map(|(_, line)| line),
        column: None,
        inlined,
        line_of_function: false,
    }
}

fn names() -> Names {
    let mut names = Names::default();
    let at = |binary, offset| Place::Binary { binary: BinaryId(binary), offset: FileOffset(offset) };
    let parse = [
        name("copy<a;b>", Some(("src/http.c", 80)), true),
        name("parse_req", Some(("src/http.c", 211)), false),
    ];
    names.insert(at(1, 0x100), Named::Known(parse.to_vec()));
    names.insert(at(1, 0x200), Named::Known(vec![name("main", None, false)]));
    names.insert(at(2, 0x10), Named::Unknown(NoName::NoSymbols));
    names.insert(Place::Jit { process: PROCESS, address: 0x8000 }, Named::Unknown(NoName::NoPerfMap));
    names
}

pub(crate) fn report(options: Options, lost: u64) -> Report {
    let mut ledger = Ledger::new(4096);
    events().iter().for_each(|event| ledger.apply(event));
    ledger.snapshot(snapshot(lost));
    Report::new(&ledger, &names(), options)
}

pub(crate) fn written(exporter: &dyn Exporter, report: &Report) -> String {
    let mut out = Vec::new();
    exporter.write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const PLAIN: Text = Text { top: 10, verbose: false, colour: Colour::Never, width: 100 };

#[test]
fn text_shows_what_is_live_and_how_far_to_trust_it() {
    insta::assert_snapshot!(written(&PLAIN, &report(Options::default(), 0)));
}

#[test]
fn text_folds_stacks_past_the_top_and_tells_of_losses() {
    let text = Text { top: 1, verbose: true, ..PLAIN };
    insta::assert_snapshot!(written(&text, &report(Options::default(), 3)));
}

#[test]
fn colour_is_an_option_and_changes_nothing_else() {
    let coloured = written(&Text { colour: Colour::Always, ..PLAIN }, &report(Options::default(), 3));
    assert!(coloured.contains("\u{1b}[1m"));
    let mut plain = String::new();
    for (at, part) in coloured.split('\u{1b}').enumerate() {
        plain += if at == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, written(&PLAIN, &report(Options::default(), 3)));
}

#[test]
fn frames_fit_the_width() {
    let mut report = report(Options::default(), 0);
    let [inner, outer] = [report.stacks[0].frames[0], report.stacks[0].frames[1]];
    report.frames[inner].function = Some("very::long::".repeat(20));
    report.frames[outer].file = Some("folder/".repeat(20) + "http.c");
    let text = written(&Text { width: 60, ..PLAIN }, &report);
    let frames = text.lines().filter(|line| line.starts_with("    "));
    assert!(frames.clone().all(|line| line.chars().count() <= 60), "{text}");
    assert!(text.contains("folder/http.c:211"), "{text}");
}

#[test]
fn names_of_a_traced_program_cannot_write_to_the_terminal() {
    let mut report = report(Options::default(), 0);
    let evil = || "\u{1b}[2Jx\n".to_owned();
    report.processes[0].comm = evil();
    report.processes[0].command = evil();
    report.stacks[0].function = Some(evil());
    let inner = report.stacks[0].frames[0];
    let frame = &mut report.frames[inner];
    (frame.function, frame.file, frame.module) = (Some(evil()), Some(evil()), Some(evil()));
    assert!(!written(&PLAIN, &report).contains('\u{1b}'));
    assert!(!written(&Folded::default(), &report).contains('\u{1b}'));
}

#[test]
fn json_has_every_stack() {
    let report = report(Options::default(), 0);
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
    let written: serde_json::Value = serde_json::from_str(&written(&Json, &report)).unwrap();
    assert_eq!(written, serde_json::to_value(&report).unwrap());
}

fn validator() -> jsonschema::Validator {
    let schema = include_str!("../../schema/report-v2.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn a_report_of_a_watched_process_says_when_and_why_it_was_attached() {
    let mut watched = report(Options::default(), 0);
    watched.watch = Some(watch());
    let line = "attached after 20 looks (1 that could not be compared left out) from outside: chunks of 64 B grew by 1.2 MiB (20,000 chunks) in 3 min 30 s, by the last 8 looks\n";
    assert!(written(&PLAIN, &watched).contains(line), "{}", written(&PLAIN, &watched));
}

fn watch() -> Watch {
    let class = Some(SizeClass { from: 64, to: 64 });
    Watch::new(20, 1, Growth { class, looks: 8, over_ns: 210 * S, bytes: 1_280_000, chunks: 20_000 })
}

#[test]
fn json_keeps_to_its_published_schema() {
    let validator = validator();
    let older = Options { older_than_ns: 100 * S, ..Options::default() };
    let mut watched = report(Options::default(), 0);
    watched.watch = Some(watch());
    for report in [report(Options::default(), 3), report(older, 0), watched] {
        let json: serde_json::Value = serde_json::from_str(&written(&Json, &report)).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({})), "the schema asks for something");
}

#[test]
fn younger_blocks_are_left_out_of_all_that_is_live() {
    let report = report(Options { older_than_ns: 30 * S, ..Options::default() }, 0);
    let first = &report.stacks[0];
    assert_eq!((first.totals.live_blocks, first.totals.live_bytes), (2, 1_048_576 + 64));
    assert_eq!(
        (first.totals.allocs, first.oldest_age_ns, first.median_age_ns),
        (5, Some(58 * S), Some(31 * S))
    );
    assert_eq!(report.totals.live_bytes, 1_048_576 + 64 + 8192);
    assert_eq!(first.sizes.iter().map(|range| range.count).sum::<u64>(), 2);
}

#[test]
fn nothing_lost_is_said_only_when_so() {
    assert!(written(&PLAIN, &report(Options::default(), 0)).contains("nothing lost"));
    assert!(!written(&PLAIN, &report(Options::default(), 1)).contains("nothing lost"));
}

#[test]
fn an_empty_report_is_a_report() {
    let report = Report::new(&Ledger::new(4096), &Names::default(), Options::default());
    insta::assert_snapshot!(written(&PLAIN, &report));
    assert_eq!(written(&Folded::default(), &report), "");
}
