//! Live bytes by site and type, against V8's own sampling profiler and heap snapshot of the same process and moment.

use std::{collections::BTreeMap, path::Path};

use tests_kernel::on_every_node;

use super::{at, traced};

on_every_node! { live_bytes_by_site_and_type_are_those_of_the_inspector }

const FILE: &str = "sites.js";
const THEIR_INTERVAL: f64 = 65536.0;

/// What is called so in a report, in a snapshot.
const TYPES: [(&str, &str); 5] = [
    ("Session", "Session"),
    ("String", "String"),
    ("Array", "Array"),
    ("closure", "closure"),
    ("elements of an Array", "(object elements)"),
];

/// A deviation of four is met once in 16,000 comparisons. Of those within 95 % there is one in twenty beyond by chance,
/// and here are sixty.
const MOST: f64 = 4.0;

fn live_bytes_by_site_and_type_are_those_of_the_inspector(major: u32, node: &Path) {
    let (mut program, report) = traced(node, &[], "v8_sites.js");
    program.work().unwrap();
    let own = report.javascript(program.pid()).expect("V8 is found");
    program.end().unwrap();
    let numbers = |name: &str| {
        let found = program.truth.other.iter().find_map(|one| one.get(name)).unwrap();
        serde_json::from_value::<BTreeMap<String, f64>>(found.clone()).unwrap()
    };

    let theirs = numbers("profile");
    let sites = ["openSession", "addNumbers", "addRow", "addText", "addClosure"];
    let ours: BTreeMap<&str, (f64, f64)> = sites
        .iter()
        .map(|site| {
            let sums = at(&report, FILE, site).fold((0.0, 0.0), |(bytes, squares), stack| {
                let error = stack.error_bytes.unwrap() as f64;
                (bytes + stack.sums.live_bytes as f64, squares + error * error)
            });
            (*site, (sums.0, sums.1.sqrt() / 1.96))
        })
        .collect();
    let all_ours: f64 = ours.values().map(|one| one.0).sum();
    let all_theirs: f64 = sites.iter().map(|site| theirs[*site]).sum();
    for site in sites {
        let (bytes, deviation) = ours[site];
        // Theirs is a Poisson count of samples an interval apart.
        let their_deviation = (theirs[site] * THEIR_INTERVAL).sqrt();
        let (share, their_share) = (bytes / all_ours, theirs[site] / all_theirs);
        let error = (deviation / all_ours).hypot(their_deviation / all_theirs);
        let apart = (share - their_share).abs() / error;
        eprintln!(
            "node {major}: {site:12} {:5.1} % {bytes:10.0} ± {deviation:7.0}, inspector {:5.1} % {:10.0} ± \
             {their_deviation:7.0}: {apart:.2} deviations",
            share * 100.0,
            their_share * 100.0,
            theirs[site]
        );
        assert!(apart < MOST, "node {major}: {site} is {share:.3} of all, to the inspector {their_share:.3}");
    }
    eprintln!("node {major}: all sites {all_ours:.0}, inspector {all_theirs:.0}");

    let snapshot = numbers("snapshot");
    for (name, theirs) in TYPES.map(|(ours, theirs)| (ours, snapshot[theirs])) {
        let found = own.types.iter().find(|one| one.name == name);
        let Some(found) = found else { panic!("node {major}: no {name} among {:?}", own.types) };
        // As many samples as the true number would have on average.
        let deviation = (theirs * found.live.bytes as f64 / found.live.samples as f64).sqrt();
        let apart = (found.live.bytes as f64 - theirs).abs() / deviation;
        eprintln!(
            "node {major}: {name:20} {:9} ± {deviation:7.0}, snapshot {theirs:9.0}: {apart:.2} deviations",
            found.live.bytes
        );
        assert!(apart < MOST, "node {major}: {} of {name}, in the snapshot {theirs}", found.live.bytes);
    }
}
