//! Whole engines: stacks in, verdicts out.

use std::{collections::BTreeMap, time::Duration};

use leaktrace_common::stack::StackId;

use super::*;
use crate::ledger::Totals;

mod proofs;
mod windows;

const EPOCH: u64 = 30_000_000_000;

/// A program whose stacks are told block by block.
struct Program {
    engine: Engine,
    settings: Settings,
    epoch: u64,
    stacks: BTreeMap<u64, Told>,
    lost: u64,
    work: f64,
}

#[derive(Default)]
struct Told {
    frames: Vec<FrameId>,
    totals: Totals,
    deaths: [u64; 24],
    blocks: Vec<Block>,
    unreachable: Unreachable,
}

impl Program {
    fn new() -> Self {
        let settings = Settings::native(Duration::from_nanos(EPOCH));
        Self {
            engine: Engine::new(settings, Moment(0), 0),
            settings,
            epoch: 0,
            stacks: BTreeMap::new(),
            lost: 0,
            work: 1.0,
        }
    }

    fn stack(&mut self, id: u64, frames: &[u64]) {
        let frames = frames.iter().copied().map(FrameId).collect();
        self.stacks.insert(id, Told { frames, ..Told::default() });
    }

    fn told(&mut self, id: u64) -> &mut Told {
        self.stacks.get_mut(&id).expect("a stack")
    }

    fn allocate(&mut self, id: u64, blocks: u64) {
        let epoch = self.epoch;
        let told = self.told(id);
        for at in 0..blocks {
            let born = Moment(epoch * EPOCH + at * EPOCH / blocks);
            told.blocks.push(Block { born, bytes: 1000, weight: 1.0, births: 1.0 });
        }
        told.totals.allocs += blocks;
        told.totals.alloc_bytes += 1000 * blocks;
    }

    /// The oldest first.
    fn free(&mut self, id: u64, blocks: usize) {
        let (now, ages) = ((self.epoch + 1) * EPOCH, self.settings.ages);
        let told = self.told(id);
        let freed: Vec<Block> = told.blocks.drain(..blocks).collect();
        for block in freed {
            told.deaths[ages.bucket(now - block.born.0)] += 1;
            told.totals.frees += 1;
            told.totals.freed_bytes += 1000;
        }
    }

    fn end(&mut self) -> Vec<Judgement> {
        self.epoch += 1;
        let end = self.epoch * EPOCH;
        let epoch = Epoch { end: Moment(end), wall_ns: end, work: self.work, lost: self.lost, events: 1000 };
        let mut ending = self.engine.end(epoch);
        for (id, told) in &self.stacks {
            let seen = Seen {
                stack: StackId(*id),
                frames: &told.frames,
                totals: told.totals,
                deaths: &told.deaths,
                unreachable: told.unreachable,
                watched: Watched::default(),
            };
            ending.stack(&seen, told.blocks.iter().copied());
        }
        ending.judge()
    }

    fn run(&mut self, epochs: u64, mut each: impl FnMut(&mut Self)) -> Vec<Judgement> {
        let mut last = Vec::new();
        for _ in 0..epochs {
            each(self);
            last = self.end();
        }
        last
    }
}

fn names(judgements: &[Judgement]) -> Vec<&'static str> {
    judgements.iter().map(|judgement| judgement.verdict.name()).collect()
}

fn path(judgement: &Judgement) -> Vec<u64> {
    judgement.path.iter().map(|frame| frame.0).collect()
}

#[test]
fn a_steady_leak_is_collected_then_suspected_then_called() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    let mut said: Vec<&str> = Vec::new();
    for _ in 0..100 {
        program.allocate(1, 5);
        said.append(&mut names(&program.end()));
    }
    said.dedup();
    assert_eq!(said, ["COLLECTING", "SUSPECT", "LEAK"]);
}

#[test]
fn the_rate_is_within_its_interval() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    let last = program.run(120, |program| program.allocate(1, 6));
    let Rate { bytes_per_s, low, high } = last[0].evidence.rate;
    assert!((bytes_per_s - 200.0).abs() < 2.0 && low < 200.0 && high > 200.0, "{:?}", last[0].evidence.rate);
    assert_eq!(last[0].evidence.spread.filled, 8);
    assert_eq!(last[0].evidence.older_than, Age::Ns(512 << 30));
}

#[test]
fn many_stacks_with_few_objects_each_are_one_verdict_at_their_common_frame() {
    let mut program = Program::new();
    (0..40).for_each(|way| program.stack(way, &[1, 2, 100 + way, 3, 4]));
    program.stack(99, &[1, 9]);
    let mut turn = 0;
    let last = program.run(120, |program| {
        for _ in 0..4 {
            program.allocate(turn % 40, 1);
            turn += 1;
        }
        program.allocate(99, 20);
        program.free(99, 20);
    });
    let leaks: Vec<&Judgement> = last.iter().filter(|judgement| judgement.verdict.is_leak()).collect();
    assert_eq!(leaks.len(), 1);
    assert_eq!((path(leaks[0]), leaks[0].stacks), (vec![1, 2], 40));
    assert_eq!(leaks[0].tail, [FrameId(3), FrameId(4)]);
}

#[test]
fn many_stacks_that_each_pass_are_one_verdict_too() {
    let mut program = Program::new();
    (0..10).for_each(|way| program.stack(way, &[1, 2, 100 + way, 3, 4, 5, 6, 7]));
    let last = program.run(120, |program| (0..10).for_each(|way| program.allocate(way, 2)));
    assert_eq!(names(&last), ["LEAK"]);
    assert_eq!((path(&last[0]), last[0].stacks), (vec![1, 2], 10));
}

#[test]
fn two_leaks_are_two_verdicts_whatever_else_lives_beside_them() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.stack(2, &[1, 4, 5]);
    program.stack(3, &[1, 4, 6]);
    let last = program.run(120, |program| {
        program.allocate(1, 4);
        program.allocate(2, 8);
        program.allocate(3, if program.epoch == 0 { 500 } else { 0 });
    });
    let leaks: Vec<Vec<u64>> =
        last.iter().filter(|judgement| judgement.verdict.is_leak()).map(path).collect();
    assert_eq!(leaks, [[1, 4, 5], [1, 2, 3]]);
}

#[test]
fn a_wrapper_that_everything_allocates_by_does_not_make_two_leaks_one() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3, 50]);
    program.stack(2, &[1, 4, 5, 50]);
    (10..20).for_each(|id| program.stack(id, &[1, 6, id, 50]));
    let last = program.run(120, |program| {
        program.allocate(1, 4);
        program.allocate(2, 8);
        (10..20).for_each(|id| {
            program.allocate(id, 3);
            program.free(id, 3);
        });
    });
    assert_eq!(names(&last).iter().filter(|name| **name == "LEAK").count(), 2);
}

#[test]
fn a_leak_whose_objects_die_after_all_is_taken_back_and_stays_to_be_seen() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    assert_eq!(names(&program.run(90, |program| program.allocate(1, 5))), ["LEAK"]);
    program.allocate(1, 5);
    program.free(1, 300);
    let now = program.end();
    let Verdict::TakenBack { was, because } = now[0].verdict.clone() else { panic!("{:?}", now[0].verdict) };
    assert!(was.leak && was.epoch > 70);
    assert!(matches!(because, Refuted::Test { test: Test::OldOnesLive, deaths: 300, .. }), "{because:?}");
    let later = program.run(3, |program| program.allocate(1, 1));
    assert_eq!((names(&later), later[0].taken_back), (vec!["TAKEN BACK"], 1));
}

#[test]
fn a_cache_that_was_suspected_until_its_oldest_entries_left_is_named_bounded() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    assert_eq!(names(&program.run(25, |program| program.allocate(1, 5))), ["SUSPECT"]);
    program.free(1, 100);
    assert_eq!(names(&program.end()), ["TAKEN BACK"]);
    let now = program.run(5, |program| {
        program.allocate(1, 5);
        program.free(1, 5);
    });
    assert_eq!(names(&now), ["BOUNDED"]);
    assert!(now[0].since.is_some_and(|was| !was.leak), "what was said is not forgotten: {:?}", now[0]);
}

#[test]
fn a_leak_that_is_freed_whole_is_taken_back_too() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.run(90, |program| program.allocate(1, 5));
    program.free(1, 450);
    assert_eq!(names(&program.end()), ["TAKEN BACK"]);
}

#[test]
fn a_leak_that_more_joins_further_up_is_not_taken_back() {
    let mut program = Program::new();
    (0..9).for_each(|id| program.stack(id, &[1, 2, 10 + id, 3]));
    program.run(90, |program| program.allocate(0, 5));
    let last = program.run(90, |program| (0..9).for_each(|id| program.allocate(id, 5)));
    assert!(last.iter().any(|judgement| judgement.verdict.is_leak()));
    assert!(last.iter().all(|judgement| !matches!(judgement.verdict, Verdict::TakenBack { .. })));
}

#[test]
fn no_leak_is_called_while_events_are_lost() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.lost = 20;
    let last = program.run(120, |program| program.allocate(1, 5));
    assert!(matches!(
        last[0].verdict,
        Verdict::Suspect { lacking: Lacking::Passes { .. } | Lacking::Events { .. } }
    ));
    program.lost = 0;
    let last = program.run(30, |program| program.allocate(1, 5));
    assert!(
        matches!(last[0].verdict, Verdict::Suspect { lacking: Lacking::Events { lost: 2400, .. } }),
        "a lost free survives for ever: {:?}",
        last[0].verdict
    );
}

#[test]
fn a_cache_that_fills_before_its_program_goes_idle_is_never_a_leak() {
    for rest in [0.0, 0.002, 0.02, 0.1, 0.2] {
        let mut program = Program::new();
        program.stack(1, &[1, 2, 3]);
        let filled = program.run(12, |program| program.allocate(1, 40));
        assert_eq!(names(&filled), ["SUSPECT"]);
        program.work = rest;
        for _ in 0..600 {
            let said = program.end();
            assert!(!said.iter().any(|said| said.verdict.is_leak()), "{rest}: {:?}", said[0].verdict);
        }
    }
}

#[test]
fn what_is_no_leak_is_named_however_little_its_program_does_after() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.work = 160.0;
    program.run(1, |program| program.allocate(1, 60));
    program.work = 10.0;
    assert_eq!(names(&program.run(8, |_| {})), ["WARM-UP"]);
}

#[test]
fn a_leak_that_was_called_stands_while_its_program_is_idle_and_after() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    assert_eq!(names(&program.run(90, |program| program.allocate(1, 5))), ["LEAK"]);
    program.work = 0.0;
    assert_eq!(names(&program.run(60, |_| {})), ["LEAK"]);
    program.work = 1.0;
    assert_eq!(names(&program.run(60, |program| program.allocate(1, 5))), ["LEAK"]);
}

#[test]
fn a_heap_that_is_collected_no_more_is_suspected_no_more() {
    let settings = Settings::collected(Duration::from_millis(100));
    let mut engine = Engine::new(settings, Moment(0), 0);
    let (mut blocks, mut said) = (Vec::new(), Vec::new());
    for gc in 1..=8u64 {
        blocks.extend((0..10).map(|_| Block { born: Moment(gc - 1), bytes: 100, weight: 4.0, births: 1.0 }));
        let totals = Totals { allocs: 10 * gc, alloc_bytes: 1000 * gc, ..Totals::default() };
        let epoch = Epoch { end: Moment(gc), wall_ns: gc * EPOCH, work: 10.0, lost: 0, events: 10 };
        let mut ending = engine.end(epoch);
        let frames = [FrameId(1)];
        let (unreachable, watched) = (Unreachable::default(), Watched::default());
        let (stack, deaths) = (StackId(7), &[][..]);
        let seen = Seen { stack, frames: &frames, totals, deaths, unreachable, watched };
        ending.stack(&seen, blocks.iter().copied());
        said = ending.judge();
    }
    assert_eq!(names(&said), ["SUSPECT"]);
    assert!(!engine.rests(11 * EPOCH) && engine.rests(13 * EPOCH));
    engine.rest(&mut said);
    assert_eq!(names(&said), ["COLLECTING"]);
}

#[test]
fn collections_are_a_clock_of_their_own() {
    let settings = Settings::collected(Duration::from_millis(100));
    let mut engine = Engine::new(settings, Moment(0), 0);
    let (mut totals, mut blocks, mut said) = (Totals::default(), Vec::new(), Vec::new());
    for gc in 1..=40u64 {
        for _ in 0..10 {
            blocks.push(Block { born: Moment(gc - 1), bytes: 100, weight: 4.0, births: 1.0 });
        }
        totals.allocs += 10;
        let wall_ns = gc * 1_000_000_000;
        let mut ending = engine.end(Epoch { end: Moment(gc), wall_ns, work: 0.0, lost: 0, events: 10 });
        let frames = [FrameId(1)];
        let seen = Seen {
            stack: StackId(7),
            frames: &frames,
            totals,
            deaths: &[],
            unreachable: Unreachable::default(),
            watched: Watched::default(),
        };
        ending.stack(&seen, blocks.iter().copied());
        let now = ending.judge();
        said.extend(now.iter().map(|judgement| (gc, judgement.verdict.name())));
        if gc == 40 {
            assert_eq!(now[0].evidence.older_than, Age::MajorGcs(8));
            assert!((now[0].evidence.rate.bytes_per_s - 4000.0).abs() < 50.0, "weights count");
            assert!(now[0].evidence.sampled);
        }
    }
    let first = |name| said.iter().find(|(_, said)| *said == name).map(|(gc, _)| *gc);
    assert_eq!((first("SUSPECT"), first("LEAK")), (Some(5), Some(9)));
}

#[test]
fn a_judgement_is_data_for_programs_too() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    let last = program.run(90, |program| program.allocate(1, 5));
    let json = serde_json::to_value(&last[0]).expect("data");
    assert_eq!(json["verdict"]["is"], "leak");
    assert_eq!(json["path"], serde_json::json!([1, 2, 3]));
    assert_eq!(json["evidence"]["older_than"]["unit"], "ns");
    assert_eq!(json["evidence"]["tests"][0]["outcome"], "passes");
}
