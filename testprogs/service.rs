//! The same as `service.c`, by Rust's global allocator.

use std::{
    hint::black_box,
    io::{BufRead, Write},
    sync::mpsc::channel,
    time::Duration,
};

#[inline(never)]
fn leak_a_request(size: usize) {
    black_box(Vec::<u8>::with_capacity(size)).leak();
}

fn main() {
    println!("ready {}", std::process::id());
    let _ = std::io::stdout().flush();
    let (lines, heard) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let _ = lines.send(line.is_ok());
        }
    });
    let _ = heard.recv();
    let mut blocks: Vec<Vec<u8>> = (0..64).map(|at| black_box(vec![1; 100 + 10 * at])).collect();
    let mut leaked = 0u64;
    for next in (0..64).cycle() {
        if heard.try_recv().is_ok() {
            break;
        }
        blocks[next] = black_box(vec![1; 100 + 10 * next]);
        leak_a_request(700);
        leaked += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{{\"leaked\":{leaked}}}");
    println!("done");
    let _ = heard.recv();
}
