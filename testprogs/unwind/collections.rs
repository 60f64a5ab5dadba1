//! A Rust program, linked by lld as rustc does it: collections, formatting, closures, threads, a caught panic.
use std::{
    collections::{BTreeMap, HashMap},
    panic, thread,
};

fn recurse(depth: u32, call: &dyn Fn(u32) -> usize) -> usize {
    if depth == 0 { call(depth) } else { recurse(depth - 1, &|n| call(n + 1)) + 1 }
}

fn work(rounds: u32) -> usize {
    let mut total = 0;
    for round in 0..rounds {
        let mut map = HashMap::new();
        let mut tree = BTreeMap::new();
        for i in 0..20 {
            map.insert(i, format!("{i:?} {round}"));
            tree.insert(format!("{i:04}"), vec![i; 10]);
        }
        total += map.len() + tree.len() + recurse(round % 40, &|n| format!("{n}").len());
        let mut words: Vec<String> = map.into_values().collect();
        words.sort_by_key(|word| word.to_uppercase());
        total += words.concat().len();
    }
    total
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(20);
    panic::set_hook(Box::new(|_| {}));
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(move || work(rounds))).collect();
    let mut total: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    for round in 0..rounds {
        total += panic::catch_unwind(|| if round % 2 == 0 { panic!("{round}") } else { work(1) }).unwrap_or(0);
    }
    println!("{total}");
}
