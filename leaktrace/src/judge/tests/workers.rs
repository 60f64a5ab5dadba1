//! JavaScript heaps of one process: one each for its workers.

use super::*;

/// The books of a process with two workers that run the same function, each with a heap and a stack of its own: what
/// the first one allocates stays, what the second one does dies.
fn workers(majors: u64, lost: u64, heaps: [u64; 2]) -> Snapshot {
    let sample = |(number, of): (u64, usize)| Sample {
        address: number,
        heap: heaps[of],
        stack: TIERS[of].0.0,
        weight: SIZE,
        born: number * EPOCH / 5,
        size: SIZE as u32,
        process: PROCESS.0,
        state: 3,
        born_major: (number / 5) as u32,
        major_survived: (majors - number / 5) as u16,
        ..Sample::default()
    };
    let kept = (0..5 * majors).map(|number| sample((number, 0)));
    let young = (5 * majors - 2..5 * majors).map(|number| sample((number, 1)));
    let mut counters = [0; COUNTERS];
    counters[Counter::SamplesFull as usize] = lost;
    let stacks = vec![(TIERS[0].0, entry(5 * majors, 0)), (TIERS[1].0, entry(50 * majors, 50 * majors - 2))];
    Snapshot {
        at: majors * EPOCH,
        stacks,
        blocks: Vec::new(),
        samples: kept.chain(young).collect(),
        counters,
    }
}

fn collection(heap: u64, number: u64, collector: u32) -> Collection {
    Collection {
        process: PROCESS,
        heap,
        tid: 7,
        collector,
        reason: 0,
        began: number * EPOCH,
        ended: number * EPOCH,
        before: None,
        after: None,
        looked_at: 0,
        died: 0,
        looking_ns: 0,
    }
}

const HEAPS: [u64; 2] = [0xa000, 0xb000];

fn isolates(marks: [u16; 2]) -> (Ledger, Names) {
    let (mut ledger, mut names) = (Ledger::new(4096), Names::default());
    traced(&mut ledger);
    for ((id, address), mark) in TIERS.into_iter().zip(marks) {
        javascript(&mut ledger, &mut names, id, SAMPLED, address, mark);
    }
    (ledger, names)
}

/// Each collection of both heaps, of which some are not heard of.
fn judge_workers(judges: &mut Judges, lost: u64, is_heard: impl Fn(u64) -> bool) {
    let (mut ledger, names) = isolates([1, 2]);
    for heap in HEAPS {
        judges.hear(&collection(heap, 0, 0));
    }
    for number in 1..=100 {
        ledger.snapshot(workers(number, lost * number, HEAPS));
        for heap in HEAPS.into_iter().filter(|_| is_heard(number)) {
            judges.hear(&collection(heap, number, Collection::MARK_COMPACTOR));
        }
        judges.collected(&ledger, &names);
    }
}

fn of(judges: &Judges, heap: u64) -> Vec<Said<'_>> {
    judges.said().filter(|said| said.heap == Heap::JavaScript(heap)).collect()
}

#[test]
fn what_dies_in_one_worker_does_not_speak_for_the_same_function_in_another() {
    let mut judges = judges();
    judge_workers(&mut judges, 0, |_| true);
    let leaking = of(&judges, HEAPS[0]);
    assert_eq!(leaking[0].judgement.verdict.name(), "LEAK");
    assert_eq!((leaking[0].judgement.evidence.deaths, &leaking[0].stacks[..]), (0, &[TIERS[0].0][..]));
    assert!(of(&judges, HEAPS[1]).iter().all(|said| !said.judgement.verdict.is_leak()));
}

#[test]
fn samples_begin_with_the_first_collection_of_any_kind() {
    let mut judges = judges();
    judge_workers(&mut judges, 0, |_| true);
    let rate = of(&judges, HEAPS[0])[0].judgement.evidence.rate;
    // Five of a thousand bytes an epoch, from the scavenge at 0 on; by the first whole collection it would be more.
    assert!((rate.bytes_per_s - 5000.0).abs() < 1.0, "{rate:?}");
}

#[test]
fn lost_samples_count_among_samples() {
    let mut judges = judges();
    // One in six of the first heap's events.
    judge_workers(&mut judges, 1, |_| true);
    assert_eq!(of(&judges, HEAPS[0])[0].judgement.verdict.name(), "SUSPECT");
}

#[test]
fn ages_stay_right_when_the_record_of_a_collection_is_lost() {
    let mut judges = judges();
    judge_workers(&mut judges, 0, |number| number % 3 != 0);
    let leak = &of(&judges, HEAPS[0])[0].judgement;
    assert_eq!(leak.verdict.name(), "LEAK");
    // A hundred collections by the samples; 67 were heard of.
    let one = &judges.heaps[&(PROCESS, Heap::JavaScript(HEAPS[0]))];
    assert_eq!((one.majors, one.engine.last()), (67, Some(Moment(100))));
}

#[test]
fn collections_that_nobody_looked_at_in_time_are_epochs_too() {
    let mut judges = judges();
    let (mut ledger, names) = isolates([1, 2]);
    let sizes = |one| Collection { before: Some(900), after: Some(100), ..one };
    for heap in HEAPS {
        judges.hear(&sizes(collection(heap, 0, 0)));
    }
    for number in 1..=100 {
        for heap in HEAPS {
            judges.hear(&sizes(collection(heap, number, Collection::MARK_COMPACTOR)));
        }
        // One look at twenty.
        if number % 20 == 0 {
            ledger.snapshot(workers(number, 0, HEAPS));
            judges.collected(&ledger, &names);
        }
    }
    let leak = &of(&judges, HEAPS[0])[0].judgement;
    let evidence = &leak.evidence;
    assert_eq!((leak.verdict.name(), evidence.window_epochs, evidence.busy_epochs), ("LEAK", 100, 100));
    assert!(of(&judges, HEAPS[1]).iter().all(|said| !said.judgement.verdict.is_leak()));
}
