//! How long judging takes where a program has very many deep stacks.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use leaktrace::{
    ledger::Totals,
    verdict::{Block, Engine, Epoch, FrameId, Moment, Seen, Settings, Unreachable, Watched},
};
use leaktrace_common::stack::StackId;

const STACKS: u64 = 100_000;
const DEPTH: u64 = 100;
const EPOCHS: u64 = 40;
/// Nanoseconds.
const EPOCH: u64 = 30_000_000_000;

/// Stacks that branch at each tenth frame. Every tenth stack leaves objects, every hundredth many.
#[must_use]
pub fn measure() -> String {
    let mut engine = Engine::new(Settings::native(Duration::from_nanos(EPOCH)), Moment(0), 0);
    let frames: Vec<Vec<FrameId>> = (0..STACKS)
        .map(|stack| {
            let way = |depth: u64| stack % 4u64.pow((depth / 10) as u32 + 1);
            (0..DEPTH)
                .map(|depth| FrameId(depth << 32 | if depth + 1 < DEPTH { way(depth) } else { stack }))
                .collect()
        })
        .collect();
    let mut text = String::new();
    for epoch in 1..=EPOCHS {
        let end = Moment(epoch * EPOCH);
        let started = Instant::now();
        let mut ending = engine.end(Epoch { end, wall_ns: end.0, work: 1.0, lost: 0, events: STACKS });
        for (stack, frames) in (0..STACKS).zip(&frames) {
            let each = if stack % 100 == 0 { 3 } else { u64::from(stack % 10 == 0 && epoch % 4 == 0) };
            let totals = Totals { allocs: 10 * epoch, frees: (10 - each) * epoch, ..Totals::default() };
            let born = (0..each * epoch).map(|block| Moment(block * end.0 / (each * epoch).max(1)));
            let seen = Seen {
                stack: StackId(stack + 1),
                frames,
                totals,
                deaths: &[10 * epoch],
                unreachable: Unreachable::default(),
                watched: Watched::default(),
            };
            ending.stack(&seen, born.map(|born| Block { born, bytes: 512, weight: 1.0, births: 1.0 }));
        }
        let told = started.elapsed();
        let judged = ending.judge();
        let all = started.elapsed();
        if epoch == 1 || epoch % 10 == 0 {
            let shown = judged.iter().filter(|said| said.verdict.is_leak() || said.verdict.is_suspect());
            let _ = writeln!(
                text,
                "epoch {epoch}: {STACKS} stacks of {DEPTH} frames told in {} ms, judged in {} ms: {} judgements, {} suspects",
                told.as_millis(),
                (all - told).as_millis(),
                judged.len(),
                shown.count()
            );
        }
    }
    text
}
