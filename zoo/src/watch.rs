//! An hour as leaktrace sees it: by epochs of 30 seconds, or by major collections.

use std::time::Duration;

use leaktrace::{
    ledger::Totals,
    verdict::{Block, Engine, Epoch, Judgement, Moment, Seen, Settings, Unreachable, Watched},
};
use leaktrace_common::stack::StackId;

use crate::hour::{HOUR, Hour};

/// How an hour is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eyes {
    Native,
    /// By major collections, about one a minute, and samples where there is much.
    Collected,
}

/// Seconds.
pub const EPOCH: f64 = 30.0;

/// Ends of epochs, in seconds.
#[must_use]
pub fn ends(hour: &Hour, eyes: Eyes, seed: u64) -> Vec<f64> {
    match eyes {
        Eyes::Native => (1..=(HOUR / EPOCH) as u32).map(|epoch| f64::from(epoch) * EPOCH).collect(),
        Eyes::Collected => {
            // Collections come with what is allocated, so with load.
            let mut rng = fastrand::Rng::with_seed(seed ^ 0x6763);
            let each = HOUR / f64::from(rng.u32(45..120));
            let mut ends = Vec::new();
            let (mut done, mut next) = (0.0, each);
            let (mut at, mut quiet, mut reduced) = (0.0, 0.0, 0);
            while at < HOUR {
                at += 1.0;
                let work = hour.activity(at - 1.0, at);
                done += work;
                quiet = if work < QUIET { quiet + 1.0 } else { 0.0 };
                reduced = if work < QUIET { reduced } else { 0 };
                let is_idle = quiet >= LONG && reduced < REDUCED;
                if done >= next || is_idle {
                    ends.push(at);
                    next = done + each * (0.6 + 0.8 * rng.f64());
                    reduced += u32::from(is_idle);
                    quiet = 0.0;
                }
            }
            ends
        }
    }
}

/// V8 collects a heap that has become idle after so many seconds, and once more if that gave anything back:
/// <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/heap/memory-reducer.h>.
const REDUCED: u32 = 2;
const LONG: f64 = 8.0;
/// Less load than this is idleness.
const QUIET: f64 = 0.1;

/// The engine rests after so many times the mean distance of collections.
const RESTS: f64 = 4.0;

struct Alive {
    dies: f64,
    born: u64,
    bytes: u64,
    weight: f64,
}

/// Calls back with the judgements of each epoch, its number from 1, and for how many seconds they are what is said.
pub fn watch(hour: &Hour, eyes: Eyes, seed: u64, mut each: impl FnMut(u32, f64, &[Judgement])) {
    let epoch = Duration::from_secs_f64(EPOCH);
    let settings = match eyes {
        Eyes::Native => Settings::native(epoch),
        Eyes::Collected => Settings::collected(epoch),
    };
    let mut engine = Engine::new(settings, Moment(0), 0);
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x7361);
    let weight = if eyes == Eyes::Collected && hour.objects.len() > 6000 { 4.0 } else { 1.0 };
    let stacks = hour.stacks.len();
    let mut alive: Vec<Vec<Alive>> = (0..stacks).map(|_| Vec::new()).collect();
    let mut totals = vec![Totals::default(); stacks];
    let mut deaths = vec![[0u64; 24]; stacks];
    let mut next = 0;
    let mut has_exited = false;
    let ends = ends(hour, eyes, seed);
    let mut until = ends.iter().copied().skip(1).chain([HOUR]);
    for (epoch, end) in (1u32..).zip(ends.iter().copied()) {
        if has_exited {
            break;
        }
        // What is said then stays.
        has_exited = hour.exits <= end;
        let end = end.min(hour.exits);
        let mut work = 0;
        while let Some(object) = hour.objects.get(next).filter(|object| object.born < end) {
            next += 1;
            if weight > 1.0 && rng.f64() * weight >= 1.0 {
                continue;
            }
            totals[object.stack].allocs += 1;
            totals[object.stack].alloc_bytes += object.bytes;
            work += 1;
            let born = match eyes {
                Eyes::Native => (object.born * 1e9) as u64,
                Eyes::Collected => u64::from(epoch - 1),
            };
            alive[object.stack].push(Alive { dies: object.dies, born, bytes: object.bytes, weight });
        }
        let now = match eyes {
            Eyes::Native => (end * 1e9) as u64,
            Eyes::Collected => u64::from(epoch),
        };
        let wall_ns = (end * 1e9) as u64;
        let mut ending = engine.end(Epoch {
            end: Moment(now),
            wall_ns,
            work: f64::from(work),
            lost: 0,
            events: next as u64,
        });
        for stack in 0..stacks {
            let (totals, deaths) = (&mut totals[stack], &mut deaths[stack]);
            alive[stack].retain(|object| {
                let dead = object.dies <= end;
                if dead {
                    let age = match eyes {
                        Eyes::Native => (object.dies * 1e9) as u64 - object.born,
                        // As many as it was seen to outlive: the last one found it dead.
                        Eyes::Collected => now - object.born - 1,
                    };
                    deaths[settings.ages.bucket(age)] += 1;
                    totals.frees += 1;
                    totals.freed_bytes += object.bytes;
                }
                !dead
            });
            let seen = Seen {
                stack: StackId(stack as u64 + 1),
                frames: &hour.stacks[stack],
                totals: *totals,
                deaths,
                unreachable: Unreachable::default(),
                watched: Watched::default(),
            };
            let block = |object: &Alive| Block {
                born: Moment(object.born),
                bytes: object.bytes,
                weight: object.weight,
                births: 1.0,
            };
            ending.stack(&seen, alive[stack].iter().map(block));
        }
        let mut said = ending.judge();
        let next = until.next().unwrap_or(HOUR).min(hour.exits);
        let rests = eyes == Eyes::Collected && engine.rests((next * 1e9) as u64);
        let lasts = if rests { RESTS * end / f64::from(epoch) } else { next - end };
        each(epoch, lasts, &said);
        if rests {
            engine.rest(&mut said);
            each(epoch, next - end - lasts, &said);
        }
    }
}
