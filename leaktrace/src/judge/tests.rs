//! What the engines are told, on books made by hand.

mod engine;
mod workers;

use leaktrace_common::{
    counter::{COUNTERS, Counter},
    live::{Block as LiveBlock, BlockKey},
    stack::{AGE_BUCKETS, StackEntry, StopReason},
    v8::{FunctionKey, Sample, Word},
};

use super::*;
use crate::{
    attribute::{At, BinaryId, FileOffset, Place},
    event::{Backing, Binary, Event, Hooked, Mapping, Mappings, ProcessEvent, Snapshot, Stack, Traced},
    symbolize::{Name, Named as Looked},
    verdict::{Checked, NoState},
};

const PROCESS: ProcessId = ProcessId(1);
const EPOCH: u64 = 1_000_000_000;
const SIZE: u64 = 1000;

/// A function of the program in two tiers: interpreted at first, compiled later.
const TIERS: [(StackId, u64); 2] = [(StackId(1), 0x1000), (StackId(2), 0x2000)];

/// The hook of V8's heap.
const SAMPLED: u16 = 5;

fn name(function: &str, file: Option<&str>) -> Name {
    let file = file.map(str::to_owned);
    Name {
        function: function.to_owned(),
        file,
        line: Some(3),
        column: None,
        inlined: false,
        line_of_function: false,
    }
}

fn traced(ledger: &mut Ledger) {
    let traced = Traced { process: PROCESS, pid: 7, comm: "node".into(), command: String::new(), at: 0 };
    ledger.apply(&Event::Traced(traced));
    ledger.apply(&Event::Hooked(Hooked { number: SAMPLED, function: "V8's heap".into(), javascript: true }));
}

/// A stack of one frame of JavaScript.
fn javascript(ledger: &mut Ledger, names: &mut Names, id: StackId, hook: u16, address: u64, isolate: u16) {
    let function = FunctionKey::new(1, 1).in_isolate(isolate);
    let words = vec![address, Word::Function(function).pack()];
    let stop = StopReason::End;
    ledger.apply(&Event::Stack(Stack { id, process: PROCESS, tgid: 7, hook, stop, words }));
    let place = Place::JavaScript { process: PROCESS, function, at: At::Code(address) };
    names.insert(place, Looked::Known(vec![name("open", Some("/app.js"))]));
}

fn books() -> (Ledger, Names) {
    let (mut ledger, mut names) = (Ledger::new(4096), Names::default());
    traced(&mut ledger);
    for (id, address) in TIERS {
        javascript(&mut ledger, &mut names, id, 0, address, 0);
    }
    (ledger, names)
}

fn judges_with(suppressions: &str) -> Judges {
    Judges::new(Options {
        epoch: Duration::from_nanos(EPOCH),
        min_rate: 1.0,
        consecutive: (5, 0.0),
        suppressions: Suppressions::parse("known.supp", suppressions).unwrap(),
    })
}

fn judges() -> Judges {
    judges_with("")
}

/// One block an epoch, of the first stack in the first half and of the second in the other.
fn snapshot(epochs: u64, half: u64) -> Snapshot {
    let of = |epoch: u64| TIERS[usize::from(epoch >= half)].0;
    let blocks: Vec<(BlockKey, LiveBlock)> = (0..epochs)
        .map(|epoch| {
            let born = epoch * EPOCH + EPOCH / 2;
            (BlockKey::new(PROCESS, epoch * 4096), LiveBlock { size: SIZE, stack: of(epoch).0, born })
        })
        .collect();
    let stacks = TIERS.map(|(id, _)| {
        let allocs = blocks.iter().filter(|(_, block)| block.stack == id.0).count() as u64;
        (id, entry(allocs, 0))
    });
    let counters = [0; COUNTERS];
    Snapshot { at: epochs * EPOCH, stacks: stacks.to_vec(), blocks, samples: Vec::new(), counters }
}

/// Deaths are of age 1 to below 2.
fn entry(allocs: u64, frees: u64) -> StackEntry {
    let mut deaths = [0; AGE_BUCKETS];
    deaths[1] = frees as u32;
    StackEntry {
        allocs,
        alloc_bytes: allocs * SIZE,
        frees,
        freed_bytes: frees * SIZE,
        deaths,
        process: PROCESS.0,
        sent: 1,
        ..StackEntry::default()
    }
}

fn said(judges: &Judges) -> Vec<&'static str> {
    judges.said().map(|said| said.judgement.verdict.name()).collect()
}

#[test]
fn a_leak_that_moves_from_one_tier_to_the_next_is_one_leak() {
    let (mut ledger, names) = books();
    let mut judges = judges();
    for epochs in 1..=100 {
        ledger.snapshot(snapshot(epochs, 50));
        judges.end_epoch(&ledger, &names);
    }
    assert_eq!(said(&judges), ["LEAK"]);
    let leak = judges.said().next().unwrap();
    let frames = leak.judgement.path.iter().filter_map(|id| judges.frames().get(*id, &names, &ledger));
    assert_eq!(frames.map(|shown| shown.label()).collect::<Vec<_>>(), ["open (/app.js:3)"]);
    assert_eq!(leak.stacks, TIERS.map(|(id, _)| id), "both tiers' stacks are named");
}

#[test]
fn native_code_is_judged_without_names_and_those_of_a_suspect_are_wanted() {
    let (mut ledger, names) = (Ledger::new(4096), Names::default());
    traced(&mut ledger);
    let backing = Backing::Binary(BinaryId(1));
    let mapping = Mapping { start: 0x5000, end: 0x6000, offset: FileOffset(0), backing };
    ledger.apply(&Event::Mappings(Mappings { process: PROCESS, list: vec![mapping], whole: false }));
    let stop = StopReason::End;
    for ((id, _), address) in TIERS.into_iter().zip([0x5101, 0x5201]) {
        let words = vec![address];
        ledger.apply(&Event::Stack(Stack { id, process: PROCESS, tgid: 7, hook: 0, stop, words }));
    }
    let mut judges = judges();
    for epochs in 1..=100 {
        // The first stack alone grows.
        ledger.snapshot(snapshot(epochs, 100));
        judges.end_epoch(&ledger, &names);
    }
    assert_eq!(said(&judges)[0], "LEAK");
    let place = Place::Binary { binary: BinaryId(1), offset: FileOffset(0x100) };
    assert_eq!(judges.suspected(&ledger).collect::<Vec<_>>(), [place]);
}

#[test]
fn a_child_that_grew_and_exited_is_judged_once_more_and_never_becomes_a_leak() {
    let (mut ledger, names) = books();
    let mut judges = judges();
    let mut before = Vec::new();
    for epochs in 1..=200 {
        // It frees nothing in its 20 epochs, and is gone.
        let mut now = snapshot(epochs.min(20), 100);
        let five = |(key, block): &(BlockKey, LiveBlock)| {
            (0..5).map(|of| (BlockKey::new(PROCESS, key.address + of), *block)).collect::<Vec<_>>()
        };
        now.blocks = now.blocks.iter().flat_map(five).collect();
        now.stacks[0].1 = entry(5 * epochs.min(20), 0);
        let busy = StackId(9);
        now.stacks.push((busy, entry(50 * epochs.min(20), 50 * epochs.min(20))));
        now.at = epochs * EPOCH;
        if epochs == 21 {
            before = said(&judges);
            let at = 20 * EPOCH + EPOCH / 4;
            ledger.apply(&Event::Process(ProcessEvent::Exit { tgid: 7, process: PROCESS, at }));
        }
        ledger.snapshot(now);
        judges.end_epoch(&ledger, &names);
        assert!(!said(&judges).contains(&"LEAK"), "epoch {epochs}");
    }
    assert_eq!(before, ["SUSPECT"]);
    assert_eq!(said(&judges), ["SUSPECT"], "what was said of it stays");
    let evidence = &judges.said().next().unwrap().judgement.evidence;
    assert_eq!(evidence.window_ns, 20 * EPOCH + EPOCH / 4, "its last epoch ended with it");
}

#[test]
fn what_was_found_of_survivors_stays_when_their_process_has_ended() {
    let (mut ledger, names) = books();
    let mut judges = judges();
    for epochs in 1..=100 {
        ledger.snapshot(snapshot(epochs, 50));
        judges.end_epoch(&ledger, &names);
    }
    let node = judges.said().next().unwrap().judgement.node;
    let verified = |judges: &Judges| judges.said().next().unwrap().judgement.evidence.verified;
    judges.ended_before_verified(PROCESS, node);
    assert_eq!(verified(&judges), Verified::Impossible { because: NoState::ProcessEnded });
    let found = Verified::Allocator(Checked { checked: 90, confirmed: 90, refuted: 0, unknown: 0 });
    judges.verified(PROCESS, node, found);
    ledger.apply(&Event::Process(ProcessEvent::Exit { tgid: 7, process: PROCESS, at: 100 * EPOCH + 1 }));
    ledger.snapshot(Snapshot { at: 101 * EPOCH, ..snapshot(100, 50) });
    judges.end_epoch(&ledger, &names);
    assert_eq!(verified(&judges), Verified::Nothing, "an epoch's end says nothing of it");
    judges.ended_before_verified(PROCESS, node);
    assert_eq!((verified(&judges), said(&judges)), (found, vec!["LEAK"]));
}

#[test]
fn missed_frees_of_a_heap_keep_its_leaks_suspects_and_lost_samples_do_not() {
    for (counter, verdict) in [
        (Counter::ImplicitFree, "SUSPECT"),
        (Counter::LiveFull, "SUSPECT"),
        (Counter::SamplesFull, "LEAK"),
        (Counter::StackDelayed, "LEAK"),
    ] {
        let (mut ledger, names) = books();
        let mut judges = judges();
        for epochs in 1..=100 {
            let mut now = snapshot(epochs, 50);
            // One in ten, of this heap.
            now.counters[counter as usize] = epochs / 10;
            ledger.snapshot(now);
            judges.end_epoch(&ledger, &names);
        }
        assert_eq!(said(&judges), [verdict], "{counter:?}");
    }
}

/// A stack of an addon below JavaScript, and where the addon's code is from.
fn addon() -> (Ledger, Names) {
    let (mut ledger, mut names) = (Ledger::new(4096), Names::default());
    traced(&mut ledger);
    let binary = Binary { id: BinaryId(9), path: "/srv/node_modules/image/resize.node".into() };
    ledger.apply(&Event::Binary(binary));
    let backing = Backing::Binary(BinaryId(9));
    let mapping = Mapping { start: 0x5000, end: 0x6000, offset: FileOffset(0), backing };
    ledger.apply(&Event::Mappings(Mappings { process: PROCESS, list: vec![mapping], whole: false }));
    let function = FunctionKey::new(1, 1);
    for (id, address) in TIERS {
        let words = vec![0x5101, address, Word::Function(function).pack()];
        let (stop, hook) = (StopReason::End, 0);
        ledger.apply(&Event::Stack(Stack { id, process: PROCESS, tgid: 7, hook, stop, words }));
        let place = Place::JavaScript { process: PROCESS, function, at: At::Code(address) };
        names.insert(place, Looked::Known(vec![name("thumbnail", Some("/app.js"))]));
    }
    let inlined = [name("pool_take", None), name("resize", None)];
    let place = Place::Binary { binary: BinaryId(9), offset: FileOffset(0x100) };
    names.insert(place, Looked::Known(inlined.to_vec()));
    (ledger, names)
}

#[test]
fn a_stack_is_suppressed_by_its_modules_and_by_frames_that_a_verdict_leaves_out() {
    for (pattern, is) in [
        ("leak:resize.node", true),
        ("leak:^resize$", true),
        ("leak:^pool_take$", true),
        ("leak:thumbnail", true),
        ("leak:/app.js", true),
        ("leak:libc.so", false),
    ] {
        let (mut ledger, names) = addon();
        let mut judges = judges_with(pattern);
        for epochs in 1..=100 {
            ledger.snapshot(snapshot(epochs, 50));
            judges.end_epoch(&ledger, &names);
        }
        let leak = judges.said().next().unwrap();
        assert_eq!(leak.judgement.verdict.name(), "LEAK");
        let expected = is.then(|| pattern.trim_start_matches("leak:"));
        assert_eq!(leak.suppressed, expected, "{pattern}");
    }
}

#[test]
fn a_verdict_is_suppressed_only_if_all_of_its_stacks_are() {
    let (mut ledger, mut names) = books();
    // The second stack comes by an addon too, and reads the same as the first.
    let (other, addon_names) = addon();
    drop(other);
    let place = Place::Binary { binary: BinaryId(9), offset: FileOffset(0x100) };
    names.insert(place, addon_names.get(place).clone());
    let binary = Binary { id: BinaryId(9), path: "/srv/resize.node".into() };
    ledger.apply(&Event::Binary(binary));
    let backing = Backing::Binary(BinaryId(9));
    let mapping = Mapping { start: 0x5000, end: 0x6000, offset: FileOffset(0), backing };
    ledger.apply(&Event::Mappings(Mappings { process: PROCESS, list: vec![mapping], whole: false }));
    let (id, process, function) = (StackId(3), PROCESS, FunctionKey::new(1, 1));
    let words = vec![0x5101, TIERS[0].1, Word::Function(function).pack()];
    ledger.apply(&Event::Stack(Stack { id, process, tgid: 7, hook: 0, stop: StopReason::End, words }));
    let mut judges = judges_with("leak:resize.node");
    for epochs in 1..=100 {
        let mut now = snapshot(epochs, 50);
        for (_, block) in now.blocks.iter_mut().filter(|(key, _)| key.address % 8192 == 0) {
            block.stack = 3;
        }
        now.stacks.push((id, entry(epochs.div_ceil(2), 0)));
        ledger.snapshot(now);
        judges.end_epoch(&ledger, &names);
    }
    let leak = judges.said().next().unwrap();
    assert_eq!((leak.judgement.verdict.name(), leak.suppressed), ("LEAK", None));
    assert!(leak.stacks.contains(&id));
}
