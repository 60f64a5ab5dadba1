//! How large a recording of much is. `docs/recordings.md` has what this printed.

use std::time::Instant;

use super::{world::Calls, *};

/// What comes of a writer is counted only.
struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Ten minutes of 10,000 events a second, spread evenly over stacks of 24 frames, all of which are there from the first moment
/// on: the worst case, since no event is of a stack that changed anyway.
fn ten_minutes(stacks: u32, calls: Calls) -> u64 {
    const EVENTS: u64 = 10_000 * 30;
    let mut world = World::new(1);
    world.functions(stacks / 20);
    (0..stacks).for_each(|_| world.stack_of(24, 0, calls));
    let (mut writer, mut out) = (Writer::new().unwrap(), Counted(0));
    for moment in 1..=20 {
        (0..EVENTS).for_each(|_| world.event(100_000));
        let report = world.report();
        let (before, begun) = (out.0, Instant::now());
        writer.moment(&report, moment == 20, &mut out).unwrap();
        println!("{calls:?}, moment {moment}: {} bytes in {:?}", out.0 - before, begun.elapsed());
    }
    println!("{stacks} stacks, {calls:?}: {} bytes", out.0);
    out.0
}

#[test]
fn ten_minutes_of_ten_thousand_stacks_are_some_megabytes() {
    let bytes = ten_minutes(10_000, Calls::Any);
    assert!(bytes < 8 << 20, "{bytes}");
}

/// `cargo test --release -p leaktrace --lib -- --ignored --nocapture a_million_stacks`: some minutes, and 3 GB of memory.
/// Functions that call no more than four others, as most do.
#[test]
#[ignore = "takes minutes"]
fn ten_minutes_of_a_million_stacks_are_under_100_megabytes() {
    let bytes = ten_minutes(1_000_000, Calls::Few);
    assert!(bytes < 75_000_000, "{bytes}");
}

/// Nothing about a frame can be told from its caller: 16 bits are new in each that is not shared.
#[test]
#[ignore = "takes minutes"]
fn ten_minutes_of_a_million_stacks_without_any_order_are_under_100_megabytes() {
    let bytes = ten_minutes(1_000_000, Calls::Any);
    assert!(bytes < 100_000_000, "{bytes}");
}
