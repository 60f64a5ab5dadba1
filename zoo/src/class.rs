//! The classes: what programs do with memory, each from a seed.

use crate::hour::{Build, HOUR, Hour, NEVER};

/// A kind of program.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub name: &'static str,
    pub leaks: bool,
    make: fn(&mut Build),
}

impl Class {
    #[must_use]
    pub fn hour(&self, seed: u64) -> Hour {
        // The same seed is another program in each class.
        let salt = self.name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
        let mut build = Build::new(salt);
        (self.make)(&mut build);
        build.done()
    }
}

const fn leak(name: &'static str, make: fn(&mut Build)) -> Class {
    Class { name, leaks: true, make }
}

const fn none(name: &'static str, make: fn(&mut Build)) -> Class {
    Class { name, leaks: false, make }
}

pub const CLASSES: [Class; 32] = [
    leak("a block of each request", steady),
    leak("one request in many", one_in_many),
    leak("bursts of errors", bursts),
    leak("begins late", late_leak),
    leak("diurnal load", diurnal_leak),
    leak("map without a bound", unbounded_map),
    leak("many stacks", many_stacks),
    leak("load rises slowly", slow_start_leak),
    leak("some are freed late", partly_freed),
    leak("faster and faster", accelerating),
    none("requests alone", requests),
    none("cache fills evenly and stops", fills_and_stops),
    none("cache begins late, fills, stops", fills_late),
    none("cache of random keys", random_keys),
    none("least recently used cache", lru),
    none("entries expire", expiring),
    none("sawtooth", sawtooth),
    none("vector doubles", doubling),
    none("step", step),
    none("steps of many stacks", many_steps),
    none("warm-up", warm_up),
    none("interned names", interned),
    none("diurnal sessions", diurnal_sessions),
    none("sessions, load rises slowly", slow_start_sessions),
    none("critical queue", critical_queue),
    none("Pareto lifetimes", pareto),
    none("frees delayed in batches", delayed),
    none("working set moves on", phases),
    none("pool grows to its peak", pool),
    none("fills, then idle", fills_then_idle),
    none("fills, then nearly idle", fills_then_nearly_idle),
    none("grows, then exits", exits),
];

/// Not in the gate: grows evenly for any time from a second to a week, each order of magnitude alike. Where that is
/// longer than the look, nothing tells it from a leak but what the confidence says. Beside leaks in three of ten
/// programs it is the population that the confidence is made for.
pub const ENDLESS: Class = none("fills for any time", fills_for_any_time);
/// The leaks of that population.
pub const STEADY: Class = leak("a block of each request", steady);

/// Objects an hour, and bytes of each, so that all of them are twice the floor of 1 KB a minute at least.
fn amount(b: &mut Build) -> (f64, f64) {
    let number = b.magnitude(25.0, 3000.0);
    let bytes = b.magnitude(1.0, 30.0) * (130_000.0 / number).max(48.0);
    (number, bytes)
}

fn forever(b: &mut Build, stack: usize, rate: f64, bytes: f64, from: f64, to: f64) {
    for at in b.arrivals(rate, from, to) {
        b.object(stack, at, NEVER, bytes);
    }
}

fn steady(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    forever(b, stack, number / HOUR, bytes, 0.0, HOUR);
}

fn one_in_many(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (life, share) = (b.magnitude(1.0, 30.0), b.magnitude(0.02, 0.3));
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    for at in b.arrivals((number / share).min(20_000.0) / HOUR, 0.0, HOUR) {
        let dies = if b.rng.f64() < share { NEVER } else { at + b.exponential(life) };
        b.object(stack, at, dies, bytes);
    }
}

fn bursts(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    let of = b.between(2.0, 12.0).min(number / 12.0).max(1.0);
    for at in b.arrivals(number / of / HOUR, 0.0, HOUR) {
        for _ in 0..1 + b.rng.u32(0..(2.0 * of) as u32) {
            let after = b.exponential(2.0);
            b.object(stack, at + after, NEVER, bytes);
        }
    }
}

fn late_leak(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    let from = b.between(300.0, 1000.0);
    forever(b, stack, number / HOUR, bytes, from, HOUR);
}

fn diurnal_leak(b: &mut Build) {
    b.diurnal();
    steady(b);
}

/// By keys that do not come again, beside reads that allocate in the same place.
fn unbounded_map(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 12, 13]);
    b.leaks(stack);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        b.object(stack, at, NEVER, bytes);
        let dies = at + b.exponential(0.1);
        b.object(stack, at, dies, bytes);
    }
}

/// One leak, reached by many ways.
fn many_stacks(b: &mut Build) {
    let (number, bytes) = amount(b);
    let ways = b.rng.u64(5..60);
    let stacks: Vec<usize> = (0..ways).map(|way| b.stack(&[10, 100 + way, 11])).collect();
    stacks.iter().for_each(|stack| b.leaks(*stack));
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let way = b.rng.usize(0..stacks.len());
        b.object(stacks[way], at, NEVER, bytes);
    }
}

fn slow_start_leak(b: &mut Build) {
    let full = b.between(600.0, 1800.0);
    b.load(|at| (0.05 + at / full).min(1.0));
    steady(b);
}

fn partly_freed(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (share, life) = (b.between(0.02, 0.08), b.between(300.0, 1200.0));
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = if b.rng.f64() < share { at + b.exponential(life) } else { NEVER };
        b.object(stack, at, dies, bytes);
    }
}

fn accelerating(b: &mut Build) {
    let by = b.between(1.5, 3.0);
    b.load(|at| 0.7 + by * at / HOUR);
    steady(b);
}

fn requests(b: &mut Build) {
    let (number, bytes) = amount(b);
    let life = b.magnitude(0.1, 60.0);
    let stack = b.stack(&[20, 21]);
    for at in b.arrivals(number / HOUR * 4.0, 0.0, HOUR) {
        let dies = at + b.exponential(life);
        b.object(stack, at, dies, bytes);
    }
}

fn fill(b: &mut Build, from: f64, during: f64) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 22]);
    let rate = number / during;
    forever(b, stack, rate.min(3.0), bytes, from, from + during);
}

fn fills_and_stops(b: &mut Build) {
    let during = b.between(120.0, 1500.0);
    fill(b, 0.0, during);
}

/// The whole program rests once its cache is full: by what it does, the cache never stopped.
fn fills_then_idle(b: &mut Build) {
    let during = b.between(120.0, 1500.0);
    b.load(|at| if at < during { 1.0 } else { 0.0 });
    fill(b, 0.0, during);
}

/// But for what it does now and then.
fn fills_then_nearly_idle(b: &mut Build) {
    let (during, rest) = (b.between(120.0, 1500.0), b.magnitude(0.002, 0.2));
    b.load(|at| if at < during { 1.0 } else { rest });
    fill(b, 0.0, during);
}

/// Frees nothing while it runs, as compilers do, and is gone before that matters.
fn exits(b: &mut Build) {
    let at = b.between(60.0, 1800.0);
    b.exits(at);
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 38]);
    forever(b, stack, number / at, bytes, 0.0, at);
}

fn fills_late(b: &mut Build) {
    let (from, during) = (b.between(300.0, 1500.0), b.between(120.0, 1200.0));
    fill(b, from, during);
}

fn fills_for_any_time(b: &mut Build) {
    let during = b.magnitude(1.0, 7.0 * 86_400.0);
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 22]);
    // As fast as a leak of the same size would be.
    forever(b, stack, number / HOUR, bytes, 0.0, during);
}

/// Each key is kept when it is seen first.
fn random_keys(b: &mut Build) {
    let (keys, bytes) = amount(b);
    let mean = b.between(120.0, 900.0);
    let stack = b.stack(&[20, 23]);
    for _ in 0..keys as usize {
        let at = b.exponential(mean);
        b.object(stack, at, NEVER, bytes);
    }
}

fn lru(b: &mut Build) {
    let (number, bytes) = amount(b);
    let kept = b.between(60.0, 1200.0);
    let stack = b.stack(&[20, 24]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        // Being used again keeps an entry for longer.
        let dies = at + kept * b.between(0.7, 1.5);
        b.object(stack, at, dies, bytes);
    }
}

fn expiring(b: &mut Build) {
    let (number, bytes) = amount(b);
    let kept = b.between(60.0, 1500.0);
    let stack = b.stack(&[20, 25]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        b.object(stack, at, at + kept, bytes);
    }
}

fn sawtooth(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (period, first) = (b.between(60.0, 1500.0), b.rng.f64());
    let stack = b.stack(&[20, 26]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = ((at / period + first).floor() + 1.0 - first) * period;
        b.object(stack, at, dies, bytes);
    }
}

fn doubling(b: &mut Build) {
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

fn step(b: &mut Build) {
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
fn many_steps(b: &mut Build) {
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

fn warm_up(b: &mut Build) {
    let (number, bytes) = amount(b);
    let mean = b.between(20.0, 400.0);
    let stack = b.stack(&[20, 30]);
    for _ in 0..number as usize {
        let at = b.exponential(mean);
        b.object(stack, at, NEVER, bytes);
    }
}

/// New names come by Heaps' law.
fn interned(b: &mut Build) {
    let (number, bytes) = amount(b);
    let power = b.between(0.25, 0.5);
    let stack = b.stack(&[20, 31]);
    for _ in 0..number as usize {
        let at = HOUR * b.rng.f64().powf(1.0 / power);
        b.object(stack, at, NEVER, bytes);
    }
}

fn sessions(b: &mut Build) {
    let (number, bytes) = amount(b);
    let life = b.between(60.0, 600.0);
    let stack = b.stack(&[20, 32]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = at + b.exponential(life);
        b.object(stack, at, dies, bytes);
    }
}

fn diurnal_sessions(b: &mut Build) {
    b.diurnal();
    sessions(b);
}

fn slow_start_sessions(b: &mut Build) {
    let full = b.between(600.0, 3000.0);
    b.load(|at| (0.05 + at / full).min(1.0));
    sessions(b);
}

/// One server that is just fast enough.
fn critical_queue(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[20, 33]);
    let mut free = 0.0f64;
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        free = free.max(at) + b.exponential(HOUR / number * 0.99);
        b.object(stack, at, free, bytes);
    }
}

fn pareto(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (shape, least) = (b.between(0.9, 1.5), b.between(1.0, 20.0));
    let stack = b.stack(&[20, 34]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = at + least * (1.0 - b.rng.f64()).powf(-1.0 / shape);
        b.object(stack, at, dies, bytes);
    }
}

/// Freed at the first of a batch's moments after their use.
fn delayed(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (batch, life) = (b.between(60.0, 900.0), b.between(1.0, 120.0));
    let stack = b.stack(&[20, 35]);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let unused = at + b.exponential(life);
        b.object(stack, at, (unused / batch).ceil() * batch, bytes);
    }
}

fn phases(b: &mut Build) {
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
fn pool(b: &mut Build) {
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
