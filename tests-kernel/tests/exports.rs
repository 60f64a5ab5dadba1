//! Every file of a report, written by one trace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use serde_json::Value;
use tests_kernel::{Program, needs_root, trace};

const FILES: [(&str, &str); 6] = [
    ("--folded", "live.folded"),
    ("--flamegraph", "live.svg"),
    ("--pprof", "heap.pb.gz"),
    ("--speedscope", "live.speedscope.json"),
    ("--heapprofile", "live.heapprofile"),
    ("--html", "report.html"),
];

#[test]
fn one_trace_leaves_every_file_and_their_sums_are_the_report_s() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let paths = FILES.map(|(flag, name)| [flag.to_owned(), folder.path().join(name).display().to_string()]);
    let flags: Vec<&str> = paths.as_flattened().iter().map(String::as_str).collect();
    let report = trace(&mut Program::c("family.c").unwrap(), &flags);
    let live = report.totals.live_bytes;
    assert!(live > 0);

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let folded = read("live.folded");
    assert_eq!(
        folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>(),
        live
    );
    assert!(read("live.svg").contains(&format!("total_samples=\"{live}\"")));
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    assert_eq!(json("live.speedscope.json")["profiles"][0]["endValue"], live);
    let samples = &json("live.heapprofile")["samples"];
    assert_eq!(
        samples.as_array().unwrap().iter().map(|one| one["size"].as_u64().unwrap()).sum::<u64>(),
        live
    );
    let page = read("report.html");
    let values = page.split("data-value=\"").skip(1);
    assert_eq!(values.map(|part| part.split('"').next().unwrap().parse::<u64>().unwrap()).sum::<u64>(), live);
    // gzip's mark.
    assert_eq!(fs::read(folder.path().join("heap.pb.gz")).unwrap()[..2], [0x1f, 0x8b]);
}
