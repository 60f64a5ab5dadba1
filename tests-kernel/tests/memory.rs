//! How much of the kernel's memory leaktrace takes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::HashMap, fs};

use tests_kernel::{Agent, Program, assert_exact, compile::Compiler, needs_root};

/// Bytes that the kernel charges for the maps which a process holds:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/syscall.c#L878-L925>
fn kernel_bytes(pid: u32) -> u64 {
    let number = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let mut maps = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let Ok(text) = fs::read_to_string(entry.unwrap().path()) else { continue };
        if let (Some(id), Some(bytes)) = (number(&text, "map_id:"), number(&text, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    assert!(maps.len() > 10, "{maps:?}");
    maps.values().sum()
}

#[test]
fn a_million_live_blocks_take_less_than_200_mb_of_the_kernels_memory() {
    needs_root();
    let mut program = Program::start("many.c", Compiler::Gcc, &["1000000"]).unwrap();
    let agent = Agent::attach(&[program.pid()], &[]).unwrap();
    let before = kernel_bytes(agent.pid());
    program.work().unwrap();
    let after = kernel_bytes(agent.pid());
    let report = agent.stop().unwrap();
    program.end().unwrap();
    eprintln!("{before} bytes of maps, {after} with a million blocks");
    assert_exact(&report, &program.truth);
    assert!(after > before && after < 200_000_000, "{after}");
}
