use std::time::Duration;

use leaktrace_common::stack::StackId;

use super::*;
use crate::{
    ledger::Totals,
    verdict::{Block, Engine, Epoch, Moment, NoState, Seen, Settings, Unreachable, Watched},
};

const EPOCH: u64 = 30_000_000_000;

/// A stack that leaves so many blocks of 1000 bytes in each epoch; `dies` is the first epoch in which all of them
/// are freed.
fn judged(epochs: u64, each: impl Fn(u64) -> u64, dies: u64, lost: u64, unreachable: u32) -> Vec<String> {
    let mut engine = Engine::new(Settings::native(Duration::from_secs(30)), Moment(0), 0);
    let frames = [1, 2, 3].map(FrameId);
    let (mut totals, mut deaths, mut blocks) = (Totals::default(), [0; 24], Vec::new());
    let mut said = Vec::new();
    for epoch in 1..=epochs {
        let end = epoch * EPOCH;
        if epoch == dies {
            for block in blocks.drain(..) {
                let Block { born, .. } = block;
                deaths[engine.settings().ages.bucket(end - born.0)] += 1;
                totals.frees += 1;
                totals.freed_bytes += 1000;
            }
        }
        for _ in 0..each(epoch) {
            blocks.push(Block { born: Moment(end - EPOCH / 2), bytes: 1000, weight: 1.0, births: 1.0 });
            totals.allocs += 1;
            totals.alloc_bytes += 1000;
        }
        let events = totals.allocs + totals.frees;
        let mut ending = engine.end(Epoch { end: Moment(end), wall_ns: end, work: 1.0, lost, events });
        let unreachable = Unreachable {
            blocks: if unreachable > 0 { blocks.len() as u64 } else { 0 },
            bytes: 1000 * blocks.len() as u64,
            scans: unreachable,
        };
        let seen = Seen {
            stack: StackId(1),
            frames: &frames,
            totals,
            deaths: &deaths,
            unreachable,
            watched: Watched::default(),
        };
        ending.stack(&seen, blocks.iter().copied());
        let name = |frame: FrameId| ["main", "parse_req", "strdup"][frame.0 as usize - 1].to_owned();
        said = ending.judge().iter().map(|judgement| words(judgement, &name)).collect();
    }
    said
}

#[test]
fn a_leak_says_how_fast_how_sure_why_and_what_would_change_it() {
    insta::assert_snapshot!(judged(120, |_| 5, 0, 0, 0).join("\n"));
}

#[test]
fn a_suspect_says_what_it_lacks() {
    insta::assert_snapshot!(judged(20, |_| 5, 0, 0, 0).join("\n"));
}

#[test]
fn a_leak_that_is_freed_is_taken_back_with_the_reason() {
    insta::assert_snapshot!(judged(121, |_| 5, 120, 0, 0).join("\n"));
}

#[test]
fn lost_events_are_told_instead_of_a_leak() {
    insta::assert_snapshot!(judged(120, |_| 5, 0, 20, 0).join("\n"));
}

#[test]
fn unreachable_blocks_are_proven() {
    insta::assert_snapshot!(judged(20, |_| 5, 0, 0, 3).join("\n"));
}

#[test]
fn what_is_no_leak_is_named() {
    let warm_up = judged(60, |epoch| if epoch < 12 { 20 } else { 0 }, 0, 0, 0);
    let step = judged(60, |epoch| if epoch == 30 { 200 } else { 0 }, 0, 0, 0);
    let bounded = judged(60, |_| 20, 58, 0, 0);
    insta::assert_snapshot!([warm_up, step, bounded].concat().join("\n"));
}

#[test]
fn it_is_said_by_what_survivors_are_known_to_be_alive() {
    let checked = Checked { checked: 200, confirmed: 190, refuted: 4, unknown: 6 };
    assert_eq!(
        verified(Verified::Allocator(checked)),
        " 190 of 200 looked up in glibc's own heap are in use, 4 are free, 6 are another allocator's."
    );
    assert_eq!(verified(Verified::Nothing), "");
    assert_eq!(
        verified(Verified::Impossible { because: NoState::ProcessEnded }),
        " Not held against the allocator's own state: its process has ended."
    );
    assert_eq!(
        lack(Lacking::Alive { refuted: 4, checked: 200 }),
        "4 of 200 survivors looked up in the allocator's own heap are free (over 1 %)"
    );
    assert_eq!(
        lack(Lacking::Frees),
        "whether it is freed is not known for the time between windows (--exact hears of it)"
    );
}
