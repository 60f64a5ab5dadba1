//! A Rust program that leaks boxes and vectors, each from a function of its own.

use std::{
    hint::black_box,
    io::{BufRead, Write},
};

#[inline(never)]
fn leak_box(value: u64) {
    Box::leak(black_box(Box::new([value; 12])));
}

#[inline(never)]
fn leak_vec(length: usize) {
    black_box(Vec::<u8>::with_capacity(length)).leak();
}

#[inline(always)]
fn make_inlined() {
    Box::leak(black_box(Box::new([7u8; 33])));
}

/// The allocation's own function is inlined here: it has no frame, only a name in the debug information.
#[inline(never)]
fn leak_inlined(count: usize) {
    for _ in 0..count {
        make_inlined();
    }
}

#[inline(never)]
fn drop_vec(length: usize) {
    drop(black_box(vec![1u8; length]));
}

fn wait_for_line() {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(98);
    }
}

fn tell(site: &str, allocs: usize, bytes: usize, frees: usize, freed: usize) {
    println!(
        "{{\"site\":\"{site}\",\"live_bytes\":{},\"live_blocks\":{},\"allocs\":{allocs},\"alloc_bytes\":{bytes},\
         \"frees\":{frees},\"freed_bytes\":{freed}}}",
        bytes - freed,
        allocs - frees
    );
}

fn main() {
    println!("ready {}", std::process::id());
    wait_for_line();
    for i in 0..1000 {
        leak_box(i);
        drop_vec(300);
    }
    for length in 1..=100 {
        leak_vec(length);
    }
    leak_inlined(50);
    tell("leak_box", 1000, 1000 * 96, 0, 0);
    tell("leak_vec", 100, 5050, 0, 0);
    tell("leak_inlined", 50, 50 * 33, 0, 0);
    tell("drop_vec", 1000, 300_000, 1000, 300_000);
    println!("done");
    std::io::stdout().flush().expect("stdout");
    wait_for_line();
}
