//! Collections, against what node says of them itself.

use std::path::Path;

use tests_kernel::{javascript::Cycle, on_every_node};

use super::traced;

on_every_node! { collections_are_those_that_node_counts_itself }

/// As `perf_hooks` has it.
fn kind_of(cycle: &Cycle) -> u64 {
    match cycle.collector.as_str() {
        "scavenge" => 1,
        "minor mark-sweep" => 2,
        _ => 4,
    }
}

fn collections_are_those_that_node_counts_itself(major: u32, node: &Path) {
    let (mut program, report) = traced(node, &[], "v8_survival.js");
    let own = report.javascript(program.pid()).expect("V8 is found");
    program.end().unwrap();
    assert_eq!(own.collections_left_out, 0);
    // Starts of incremental marking and weak callbacks are entries of their own to node, and parts of a collection here.
    let told: Vec<(u64, f64)> = program
        .truth
        .other
        .iter()
        .filter_map(|one| Some((one.get("collection")?.as_u64()?, one.get("ms")?.as_f64()?)))
        .filter(|(kind, _)| [1, 2, 4].contains(kind))
        .collect();
    let seen: Vec<(u64, f64)> =
        own.collections.iter().map(|one| (kind_of(one), one.pause_ns as f64 / 1e6)).collect();
    let kinds = |all: &[(u64, f64)]| all.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    assert_eq!(kinds(&seen), kinds(&told), "node {major}: reported {seen:?}\nnode says {told:?}");
    for kind in [1, 4] {
        let sum = |all: &[(u64, f64)]| all.iter().filter(|one| one.0 == kind).map(|one| one.1).sum::<f64>();
        eprintln!("node {major}: kind {kind}: {:.1} ms, node says {:.1} ms", sum(&seen), sum(&told));
    }
    let mut apart: Vec<f64> =
        seen.iter().zip(&told).map(|(seen, told)| (seen.1 - told.1).abs() / told.1).collect();
    apart.sort_by(f64::total_cmp);
    let (median, worst) = (apart[apart.len() / 2], apart[apart.len() - 1]);
    eprintln!(
        "node {major}: {} collections, pauses differ by {median:.3} (median), {worst:.3} (most)",
        seen.len()
    );
    // Node looks at its clock within ours, and on a busy machine another process runs between the two.
    assert!(median < 0.1, "node {major}: reported {seen:?}\nnode says {told:?}");

    let after = own.collections.last().and_then(|one| one.after).expect("V8 counts its heap");
    let told = program.truth.number("heap_used").unwrap();
    eprintln!("node {major}: heap after {after}, node says {told}");
    assert!(after.abs_diff(told) * 50 <= told, "node {major}: heap after {after}, node says {told}");
}
