//! Verdicts of the world.

use leaktrace_common::stack::StackId;

use crate::{
    report::{Verdict, VerdictFrame},
    verdict::{
        Age, Called, Confidence, Evidence, Lacking, NoState, Outcome, Rate, Refuted, Spread, Test, Tested,
        Unreachable, Verdict as State, Verified, Watched, stack_name,
    },
};

/// One of each state; numbers that JSON has no words for stand in them too.
pub(super) fn verdict(at: u64, now: u64) -> Verdict {
    let called = Called { leak: at > 0, proven: false, epoch: 3, at_ns: now };
    let because = Refuted::Test { test: Test::NotSlowing, survivors: 5, deaths: 1 };
    let (name, state) = match at {
        0 => ("SUSPECT", State::Suspect { lacking: Lacking::Rate { surely: 0.1 + 0.2, floor: 17.066_666 } }),
        1 => ("LEAK", State::Leak),
        2 => ("TAKEN BACK", State::TakenBack { was: called, because }),
        _ => ("COLLECTING", State::Collecting { lacking: Lacking::Decision { test: Test::Spread } }),
    };
    let tested = |test| Tested { test, outcome: Outcome::Open, probability: Some(1.0 / 3.0) };
    Verdict {
        pid: 1001,
        process: 1,
        heap: "native".into(),
        isolate: None,
        verdict: name.into(),
        text: format!("{name}: function_{at} leaves 1.0 KiB/h."),
        confidence: 0.1 * at as f64,
        bytes_per_second: now as f64 / 7.0,
        bytes_per_second_low: 0.0,
        bytes_per_second_high: f64::INFINITY,
        stacks: 1,
        frames: vec![VerdictFrame {
            function: Some(format!("function_{at}")),
            module: None,
            file: Some("/src/a.c".into()),
            line: Some(at as u32),
        }],
        members: vec![stack_name(StackId(at))],
        suppressed: None,
        state,
        passes: 1,
        since: Some(called),
        taken_back: 0,
        evidence: Evidence {
            tests: Test::ALL.map(tested),
            onset: 0.25,
            onset_ns: 1,
            window_ns: now,
            window_epochs: 5,
            busy_ns: 6,
            busy_epochs: 7,
            older_than: Age::MajorGcs(3),
            survivors: 8,
            survivor_bytes: 9.5,
            deaths: 1,
            deaths_at_most: 0.01,
            grown: 2,
            births: 3,
            rate: Rate { bytes_per_s: 1.5, low: -0.0, high: 2.5 },
            going_on: None,
            spread: Spread { filled: 6, of: 8, largest: 0.3, dispersion: 1.1 },
            confidence: Confidence { probability: 0.9, for_window: f64::INFINITY, ..Confidence::default() },
            cache_bytes: 1e300,
            deaths_to_refute: 3,
            unreachable: Unreachable::default(),
            watched: Watched { blocks: 4, touched: 0 },
            verified: Verified::Impossible { because: NoState::ProcessEnded },
            lost: 0,
            events: 100,
            sampled: false,
        },
    }
}
