//! The classes: what programs do with memory, each from a seed.

mod leaks;
mod others;

use leaks::{
    accelerating, bursts, diurnal_leak, late_leak, many_stacks, one_in_many, partly_freed, slow_start_leak,
    steady, unbounded_map,
};
use others::{
    critical_queue, delayed, diurnal_sessions, doubling, exits, expiring, fills_and_stops,
    fills_for_any_time, fills_late, fills_then_idle, fills_then_nearly_idle, interned, lru, many_steps,
    pareto, phases, pool, random_keys, requests, sawtooth, slow_start_sessions, step, warm_up,
};

use crate::hour::{Build, Hour, NEVER};

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
