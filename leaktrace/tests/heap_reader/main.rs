//! The heap of a running program, read from outside, held against what the program itself says of its blocks.

#![allow(clippy::unwrap_used, unsafe_code, reason = "a test fails by it; signals to the test's own child")]

// The harness of the kernel tests is built on this crate and so cannot be a dependency.
#[path = "../../../tests-kernel/src/skip.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the harness, and `cargo xtask test` reads its mark"
)]
mod skip;

mod command;
mod program;
mod refused;

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
    time::Duration,
};

use leaktrace::heap_reader::{Checked, Chunk, ChunkState, HeapReader, Liveness, WhyUnknown};
use program::{FREED, Folder, LIVE, Program, Row, compiled};

const PAGE: u64 = 4096;

fn open(program: &Program) -> HeapReader {
    HeapReader::open(program.pid(), PAGE).unwrap_or_else(|error| panic!("{error}"))
}

/// CPU time of this thread.
fn cpu() -> Duration {
    // SAFETY: an all-zero timespec is one, and the call fills it.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` outlives the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What is wrong with a whole look at a program that stands still.
fn compare(reader: &mut HeapReader, rows: &[Row], threads: usize) {
    let (chunks, look) = reader.chunks().unwrap();
    let by_address: HashMap<u64, _> = chunks.iter().map(|chunk| (chunk.address, chunk)).collect();
    assert_eq!(by_address.len(), chunks.len(), "no address twice");
    let (mut live, mut freed, mut states) = (0, 0, BTreeMap::new());
    for row in rows {
        let found = by_address.get(&row.address);
        match row.state {
            LIVE => {
                let found = found.unwrap_or_else(|| panic!("{row:x?} is live, and nothing is there"));
                assert_eq!((found.state, found.usable), (ChunkState::InUse, row.usable), "{row:x?}");
                live += 1;
            }
            FREED => {
                let state = found.map(|found| found.state);
                assert_ne!(state, Some(ChunkState::InUse), "{row:x?}");
                *states.entry(format!("{state:?}")).or_insert(0) += 1;
                freed += 1;
            }
            _ => {}
        }
    }
    let in_use = chunks.iter().filter(|chunk| chunk.state == ChunkState::InUse).count();
    leaktrace::say!(
        "{live} live, {freed} freed ({states:?}), {} chunks, {in_use} in use, {look:?}",
        chunks.len()
    );
    // glibc's own: for each thread its lists and its table of thread-local storage; stdio's none.
    let own: BTreeMap<u64, &Row> =
        rows.iter().filter(|row| row.state == LIVE).map(|row| (row.address, row)).collect();
    let others: Vec<_> = chunks
        .iter()
        .filter(|chunk| chunk.state == ChunkState::InUse && !own.contains_key(&chunk.address))
        .collect();
    assert!(others.len() <= 2 * threads + 4, "in use, and the program does not have it: {others:x?}");
    assert_eq!((look.unwalked, look.torn_lists, look.retries), (0, 0, 0));
    assert_eq!(look.mapped, look.mapped_found);
    assert_eq!(look.tcaches as usize, threads);
    let asked: Vec<&Row> = rows.iter().filter(|row| matches!(row.state, LIVE | FREED)).collect();
    let blocks: Vec<u64> = asked.iter().map(|row| row.address).collect();
    let checked = reader.check(&blocks).unwrap();
    for size in &checked.sizes {
        // What is usable is the most that can have been asked for; a chunk may be up to 32 bytes larger than it need be.
        let largest = *size.requests.end();
        let can_be = |chunk: &&Chunk| (largest..=largest + 32).contains(&chunk.usable) && !chunk.mapped;
        let in_use = chunks.iter().filter(|chunk| chunk.state == ChunkState::InUse);
        let can_be: Vec<_> = in_use.filter(can_be).collect();
        assert_eq!(size.most, can_be.len() as u64 + look.mapped, "{size:?}");
        assert_eq!(size.usual, can_be.iter().filter(|chunk| chunk.usable == largest).count() as u64);
    }
    let live = |row: &&Row| row.state == LIVE && row.usable < 32 << 10;
    let is_told = |row: &Row| checked.sizes.iter().any(|size| *size.requests.end() == row.usable);
    assert!(rows.iter().filter(live).all(is_told));
    for (row, liveness) in asked.iter().zip(checked.states) {
        // A freed block's place may be a live one's by now: then it is told by that.
        let expected = match by_address.get(&row.address).map(|chunk| chunk.state) {
            Some(ChunkState::InUse) => Liveness::Live,
            _ => Liveness::Free,
        };
        assert_eq!(liveness, expected, "{row:x?}");
    }
}

#[test]
fn every_chunk_of_a_stopped_program_is_told_right() {
    let Some(program) = Program::start(&[], 8, 25_000, "still") else { return };
    program.stop();
    let rows = program.rows();
    assert!(rows.iter().filter(|row| row.state == LIVE).count() > 100_000);
    compare(&mut open(&program), &rows, 8);
}

#[test]
fn a_static_program_without_symbols_is_read_too() {
    let Some(program) = Program::start(&["-static", "-s"], 4, 10_000, "still") else { return };
    program.stop();
    let mut reader = open(&program);
    assert_eq!(reader.version(), None);
    compare(&mut reader, &program.rows(), 4);
}

/// Folders of other glibcs, loader included, in LEAKTRACE_GLIBCS.
#[test]
fn every_chunk_is_told_right_with_other_versions_of_glibc() {
    let Some(folders) = std::env::var_os("LEAKTRACE_GLIBCS") else {
        skip::skip("glibcs", "LEAKTRACE_GLIBCS names no folders of other glibcs");
        return;
    };
    for libs in std::env::split_paths(&folders) {
        let Some(program) = Program::with_libs(&libs, 6, 20_000, "still") else { continue };
        program.stop();
        let mut reader = open(&program);
        leaktrace::say!("{}: {}", libs.display(), reader.version().unwrap());
        compare(&mut reader, &program.rows(), 6);
    }
}

#[test]
fn blocks_behind_a_gap_in_the_main_arena_are_unknown_and_not_said_to_be_free() {
    let folder = Folder::new();
    let Some(executable) = compiled(&folder, "heap_gap.c", &[]) else { return };
    let program = Program::run(folder, Command::new(executable), 1, 0, "still");
    let blocks: Vec<u64> = program.rows().iter().map(|row| row.address).collect();
    let mut reader = open(&program);
    assert!(reader.census().unwrap().1.unwalked > 1 << 20);
    let Checked { states: found, sizes } = reader.check(&blocks).unwrap();
    assert!(sizes.is_empty(), "more may be in use there");
    assert!(found.iter().all(|liveness| *liveness != Liveness::Free));
    let unknown = Liveness::Unknown(WhyUnknown::NotWalked);
    assert_eq!((found[0], found[blocks.len() - 1]), (Liveness::Live, unknown));
}

#[test]
fn blocks_held_through_full_churn_are_told_right_but_for_one_in_ten_thousand() {
    let Some(program) = Program::start(&[], 6, 20_000, "churn") else { return };
    let mut reader = open(&program);
    let (mut certain, mut wrong, mut unknown) = (0u64, BTreeMap::<_, u64>::new(), 0u64);
    for _ in 0..20 {
        let before = program.rows();
        let blocks: Vec<u64> = before.iter().map(|row| row.address).collect();
        let found = reader.check(&blocks).unwrap().states;
        for ((before, after), found) in before.iter().zip(program.rows()).zip(found) {
            if *before != after || !matches!(before.state, LIVE | FREED) {
                continue;
            }
            certain += 1;
            match (before.state, found) {
                (_, Liveness::Unknown(_)) => unknown += 1,
                (LIVE, Liveness::Live) | (FREED, Liveness::Free) => {}
                wrongly => *wrong.entry(format!("{wrongly:?}")).or_default() += 1,
            }
        }
    }
    leaktrace::say!("{certain} blocks held for certain, wrong: {wrong:?}, unknown: {unknown}");
    assert!(wrong.values().sum::<u64>() * 10_000 <= certain, "{wrong:?} of {certain}");
    assert!(unknown * 100 <= certain, "{unknown} of {certain}");
}

#[test]
fn a_walk_costs_little() {
    let Some(program) = Program::start(&[], 2, 250_000, "still") else { return };
    let mut reader = open(&program);
    let begun = cpu();
    let (census, look) = reader.census().unwrap();
    let spent = cpu() - begun;
    let total = census.total();
    leaktrace::say!(
        "a look at {} MiB in {} chunks took {:.1} ms of CPU time: {:.0} ms/GiB, {:.0} ns a chunk",
        look.walked >> 20,
        total.chunks,
        spent.as_secs_f64() * 1e3,
        spent.as_secs_f64() * 1e3 / (look.walked as f64 / f64::from(1 << 30)),
        spent.as_secs_f64() * 1e9 / total.chunks as f64
    );
    assert!(spent < Duration::from_secs(5), "{spent:?}");
    let rows = program.rows();
    let blocks: Vec<u64> =
        rows.iter().filter(|row| row.state == LIVE).map(|row| row.address).take(1000).collect();
    let begun = cpu();
    let Checked { states: found, sizes } = reader.check(&blocks).unwrap();
    assert!(sizes.is_empty(), "more may be in use there");
    assert!(found.iter().all(|liveness| *liveness == Liveness::Live));
    leaktrace::say!("1,000 blocks of one arena checked in {:.1} ms", (cpu() - begun).as_secs_f64() * 1e3);
}
