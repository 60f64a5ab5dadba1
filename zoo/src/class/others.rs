//! What does not leak, however it grows.

use super::{amount, forever};
use crate::hour::{Build, HOUR, NEVER};

pub(super) fn requests(b: &mut Build) {
    let (number, bytes) = amount(b);
    let life = b.magnitude(0.1, 60.0);
    let stack = b.stack(&[20, 21]);
    for at in b.arrivals(number / HOUR * 4.0, 0.0, HOUR) {
        let dies = at + b.exponential(life);
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn fill(b: &mut Build, from: f64, during: f64) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 22]);
    let rate = number / during;
    forever(b, stack, rate.min(3.0), bytes, from, from + during);
}

pub(super) fn fills_and_stops(b: &mut Build) {
    let during = b.between(120.0, 1500.0);
    fill(b, 0.0, during);
}

/// The whole program rests once its cache is full: by what it does, the cache never stopped.
pub(super) fn fills_then_idle(b: &mut Build) {
    let during = b.between(120.0, 1500.0);
    b.load(|at| if at < during { 1.0 } else { 0.0 });
    fill(b, 0.0, during);
}

/// But for what it does now and then.
pub(super) fn fills_then_nearly_idle(b: &mut Build) {
    let (during, rest) = (b.between(120.0, 1500.0), b.magnitude(0.002, 0.2));
    b.load(|at| if at < during { 1.0 } else { rest });
    fill(b, 0.0, during);
}

/// Frees nothing while it runs, as compilers do, and is gone before that matters.
pub(super) fn exits(b: &mut Build) {
    let at = b.between(60.0, 1800.0);
    b.exits(at);
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 38]);
    forever(b, stack, number / at, bytes, 0.0, at);
}

pub(super) fn fills_late(b: &mut Build) {
    let (from, during) = (b.between(300.0, 1500.0), b.between(120.0, 1200.0));
    fill(b, from, during);
}

pub(super) fn fills_for_any_time(b: &mut Build) {
    let during = b.magnitude(1.0, 7.0 * 86_400.0);
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 22]);
    // As fast as a leak of the same size would be.
    forever(b, stack, number / HOUR, bytes, 0.0, during);
}

/// Each key is kept when it is seen first.
pub(super) fn random_keys(b: &mut Build) {
    let (keys, bytes) = amount(b);
    let mean = b.between(120.0, 900.0);
    let stack = b.stack(&[20, 23]);
    for _ in 0..keys as usize {
        let at = b.exponential(mean);
        b.object(stack, at, NEVER, bytes);
    }
}

pub(super) fn lru(b: &mut Build) {
    let (number, bytes) = amount(b);
    let kept = b.between(60.0, 1200.0);
    let stack = b.stack(&[20, 24]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        // Being used again keeps an entry for longer.
        let dies = at + kept * b.between(0.7, 1.5);
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn expiring(b: &mut Build) {
    let (number, bytes) = amount(b);
    let kept = b.between(60.0, 1500.0);
    let stack = b.stack(&[20, 25]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        b.object(stack, at, at + kept, bytes);
    }
}

pub(super) fn sawtooth(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (period, first) = (b.between(60.0, 1500.0), b.rng.f64());
    let stack = b.stack(&[20, 26]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = ((at / period + first).floor() + 1.0 - first) * period;
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn doubling(b: &mut Build) {
    let stack = b.stack(&[20, 27]);
    let mut bytes = b.magnitude(64.0, 65_536.0);
    let (mut at, mut lasts) = (b.between(0.0, 60.0), b.between(1.0, 20.0));
    while at < HOUR {
        b.object(stack, at, at + lasts, bytes);
        at += lasts;
        lasts *= 2.0;
        bytes *= 2.0;
    }
}

pub(super) fn step(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 28]);
    for _ in 0..b.rng.usize(1..4) {
        let (at, during) = (b.between(0.0, 3400.0), b.between(1.0, 60.0));
        for _ in 0..(number / 2.0) as usize {
            let after = b.between(0.0, during);
            b.object(stack, at + after, NEVER, bytes);
        }
    }
}

/// Modules that are loaded when they are first needed, at any time, by stacks of their own.
pub(super) fn many_steps(b: &mut Build) {
    let (number, bytes) = amount(b);
    let modules = b.rng.u64(5..40);
    for module in 0..modules {
        let stack = b.stack(&[20, 200 + module, 29]);
        let at = b.between(0.0, HOUR);
        for _ in 0..3 + (number / modules as f64) as usize {
            let after = b.between(0.0, 5.0);
            b.object(stack, at + after, NEVER, bytes);
        }
    }
}

pub(super) fn warm_up(b: &mut Build) {
    let (number, bytes) = amount(b);
    let mean = b.between(20.0, 400.0);
    let stack = b.stack(&[20, 30]);
    for _ in 0..number as usize {
        let at = b.exponential(mean);
        b.object(stack, at, NEVER, bytes);
    }
}

/// New names come by Heaps' law.
pub(super) fn interned(b: &mut Build) {
    let (number, bytes) = amount(b);
    let power = b.between(0.25, 0.5);
    let stack = b.stack(&[20, 31]);
    for _ in 0..number as usize {
        let at = HOUR * b.rng.f64().powf(1.0 / power);
        b.object(stack, at, NEVER, bytes);
    }
}

pub(super) fn sessions(b: &mut Build) {
    let (number, bytes) = amount(b);
    let life = b.between(60.0, 600.0);
    let stack = b.stack(&[20, 32]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = at + b.exponential(life);
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn diurnal_sessions(b: &mut Build) {
    b.diurnal();
    sessions(b);
}

pub(super) fn slow_start_sessions(b: &mut Build) {
    let full = b.between(600.0, 3000.0);
    b.load(|at| (0.05 + at / full).min(1.0));
    sessions(b);
}

/// One server that is just fast enough.
pub(super) fn critical_queue(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 33]);
    let mut free = 0.0f64;
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        free = free.max(at) + b.exponential(HOUR / number * 0.99);
        b.object(stack, at, free, bytes);
    }
}

pub(super) fn pareto(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (shape, least) = (b.between(0.9, 1.5), b.between(1.0, 20.0));
    let stack = b.stack(&[20, 34]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = at + least * (1.0 - b.rng.f64()).powf(-1.0 / shape);
        b.object(stack, at, dies, bytes);
    }
}

/// Freed at the first of a batch's moments after their use.
pub(super) fn delayed(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (batch, life) = (b.between(60.0, 900.0), b.between(1.0, 120.0));
    let stack = b.stack(&[20, 35]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let unused = at + b.exponential(life);
        b.object(stack, at, (unused / batch).ceil() * batch, bytes);
    }
}

pub(super) fn phases(b: &mut Build) {
    let (number, bytes) = amount(b);
    let period = b.between(300.0, 1200.0);
    let stack = b.stack(&[20, 36]);
    let mut start = 0.0;
    while start < HOUR {
        let end = start + b.between(0.7, 1.3) * period;
        for _ in 0..(number * period / HOUR) as usize {
            let at = start + b.exponential(period / 10.0);
            let dies = end + b.between(0.0, 20.0);
            b.object(stack, at, dies.max(at), bytes);
        }
        start = end;
    }
}

/// As many as were ever in use at once are kept: records get rarer.
pub(super) fn pool(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 37]);
    let life = b.between(10.0, 200.0);
    let mut ends: Vec<f64> = Vec::new();
    let mut most = 0;
    for at in b.arrivals(number * 4.0 / HOUR, 0.0, HOUR) {
        ends.retain(|end| *end > at);
        let lasts = b.exponential(life);
        ends.push(at + lasts);
        if ends.len() > most {
            most = ends.len();
            b.object(stack, at, NEVER, bytes);
        }
    }
}
