//! What nothing points to any more.

use super::*;

#[test]
fn a_block_that_three_scans_did_not_reach_is_proven_however_few_there_are() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.allocate(1, 1);
    program.told(1).unreachable = Unreachable { blocks: 1, bytes: 1000, scans: 2 };
    assert!(!program.end().iter().any(|judgement| judgement.verdict.is_leak()));
    program.told(1).unreachable.scans = 3;
    let now = program.end();
    assert_eq!(names(&now), ["LEAK PROVEN"]);
    assert!(now[0].evidence.confidence.probability > 0.99);
    let later = program.run(100, |_| {});
    assert_eq!(names(&later), ["LEAK PROVEN"], "it stays lost");
}

#[test]
fn a_proof_that_goes_takes_its_leak_with_it_in_public() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.allocate(1, 1);
    program.told(1).unreachable = Unreachable { blocks: 1, bytes: 1000, scans: 3 };
    assert_eq!(names(&program.end()), ["LEAK PROVEN"]);
    program.told(1).unreachable = Unreachable::default();
    let now = program.end();
    let Verdict::TakenBack { was, because } = now[0].verdict.clone() else { panic!("{:?}", now[0].verdict) };
    assert!(was.proven && because == Refuted::Reached, "{was:?} {because:?}");
    assert_eq!(now[0].taken_back, 1);
}

#[test]
fn what_was_only_proven_is_no_leak_by_its_growth_until_that_is_enough() {
    let mut program = Program::new();
    program.stack(1, &[1, 2, 3]);
    program.run(20, |program| program.allocate(1, 5));
    program.told(1).unreachable = Unreachable { blocks: 90, bytes: 90_000, scans: 3 };
    assert_eq!(names(&program.run(1, |program| program.allocate(1, 5))), ["LEAK PROVEN"]);
    program.told(1).unreachable = Unreachable::default();
    let mut said: Vec<&str> = Vec::new();
    for _ in 0..90 {
        program.allocate(1, 5);
        said.append(&mut names(&program.end()));
    }
    said.dedup();
    assert_eq!(said, ["TAKEN BACK", "SUSPECT", "LEAK"], "not LEAK before its 72 epochs");
}
