//! A program that allocates so fast that refills are looked at in windows only: what these show stands for all of it.

use std::path::Path;

use tests_kernel::{Agent, Program, javascript::JavaScript, on_every_node, report::Stack};

use super::at;

on_every_node! { what_windows_show_stands_for_all_that_is_allocated }

const FILE: &str = "sites.js";
/// Bytes of what each site makes: an object of two fields, an array and its elements.
const OBJECT: f64 = 184.0;

fn what_windows_show_stands_for_all_that_is_allocated(major: u32, node: &Path) {
    let mut program = Program::node(node, &[], "v8_busy.js").unwrap();
    let agent = Agent::attach(&[program.pid()], &[]).unwrap();
    program.work().unwrap();
    let report = agent.stop().unwrap();
    let own = report.javascript(program.pid()).expect("V8 is found");
    program.end().unwrap();
    assert!(own.refills_seen < 0.7, "node {major}: {:.2} of the time is looked at", own.refills_seen);

    let (seen, all) = (own.sampled_bytes as f64, allocated(own));
    eprintln!("node {major}: {:.2} of the time, {:.3} of {:.1} GB", own.refills_seen, seen / all, all / 1e9);
    // Some 400 samples in some 30 windows, in which the program does as much as else on a quiet machine.
    assert!((seen / all - 1.0).abs() < 0.35, "node {major}: {seen} of {all}");

    let of = |site| at(&report, FILE, site).map(|stack: &Stack| stack.sums.alloc_bytes as f64).sum::<f64>();
    let [often, rarely, keep] = ["often", "rarely", "keep"].map(of);
    let part = often / (often + rarely);
    eprintln!("node {major}: {part:.3} at the site that makes two of three");
    assert!((part - 2.0 / 3.0).abs() < 0.15, "node {major}: {often} and {rarely}");

    // Few samples are of what stays; all of them live, and next to none of the others.
    let live = |site| at(&report, FILE, site).map(|stack| stack.sums.live_bytes as f64).sum::<f64>();
    let kept = program.truth.number("kept").unwrap() as f64 * OBJECT;
    eprintln!("node {major}: kept {:.0} of {keep:.0}, in truth {kept:.0}", live("keep"));
    assert!((0.1..4.0).contains(&(live("keep") / kept)), "node {major}: {} of {kept}", live("keep"));
    let garbage = live("often") + live("rarely");
    assert!(garbage < 0.01 * all, "node {major}: {garbage} of garbage is said to live");
}

/// By V8's own sizes of the heap, between its first and its last collection; before and after these it is as much as between
/// two.
fn allocated(own: &JavaScript) -> f64 {
    assert_eq!(own.collections_left_out, 0);
    let between: Vec<f64> = own
        .collections
        .windows(2)
        .map(|pair| pair[1].before.unwrap().saturating_sub(pair[0].after.unwrap()) as f64)
        .collect();
    between.iter().sum::<f64>() * (between.len() + 1) as f64 / between.len() as f64
}
