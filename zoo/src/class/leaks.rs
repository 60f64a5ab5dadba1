//! What leaks.

use super::{amount, forever};
use crate::hour::{Build, HOUR, NEVER};

pub(super) fn steady(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    forever(b, stack, number / HOUR, bytes, 0.0, HOUR);
}

pub(super) fn one_in_many(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (life, share) = (b.magnitude(1.0, 30.0), b.magnitude(0.02, 0.3));
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    for at in b.arrivals((number / share).min(20_000.0) / HOUR, 0.0, HOUR) {
        let dies = if b.rng.f64() < share { NEVER } else { at + b.exponential(life) };
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn bursts(b: &mut Build) {
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

pub(super) fn late_leak(b: &mut Build) {
    let (number, bytes) = amount(b);
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    let from = b.between(300.0, 1000.0);
    forever(b, stack, number / HOUR, bytes, from, HOUR);
}

pub(super) fn diurnal_leak(b: &mut Build) {
    b.diurnal();
    steady(b);
}

/// By keys that do not come again, beside reads that allocate in the same place.
pub(super) fn unbounded_map(b: &mut Build) {
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
pub(super) fn many_stacks(b: &mut Build) {
    let (number, bytes) = amount(b);
    let ways = b.rng.u64(5..60);
    let stacks: Vec<usize> = (0..ways).map(|way| b.stack(&[10, 100 + way, 11])).collect();
    stacks.iter().for_each(|stack| b.leaks(*stack));
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let way = b.rng.usize(0..stacks.len());
        b.object(stacks[way], at, NEVER, bytes);
    }
}

pub(super) fn slow_start_leak(b: &mut Build) {
    let full = b.between(600.0, 1800.0);
    b.load(|at| (0.05 + at / full).min(1.0));
    steady(b);
}

pub(super) fn partly_freed(b: &mut Build) {
    let (number, bytes) = amount(b);
    let (share, life) = (b.between(0.02, 0.08), b.between(300.0, 1200.0));
    let stack = b.stack(&[10, 11]);
    b.leaks(stack);
    for at in b.arrivals(number / HOUR, 0.0, HOUR) {
        let dies = if b.rng.f64() < share { at + b.exponential(life) } else { NEVER };
        b.object(stack, at, dies, bytes);
    }
}

pub(super) fn accelerating(b: &mut Build) {
    let by = b.between(1.5, 3.0);
    b.load(|at| 0.7 + by * at / HOUR);
    steady(b);
}
