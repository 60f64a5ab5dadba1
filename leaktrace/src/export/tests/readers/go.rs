//! pprof, by Go's own.

use std::{path::Path, process::Command};

use super::{
    super::{super::*, world::world},
    Folder, is_there, says,
};

fn pprof(folder: &Folder, flags: &[&str], file: &Path) -> String {
    // It keeps settings and what it fetched below these.
    let folder = &folder.0;
    says(
        Command::new("go")
            .args(["tool", "pprof"])
            .args(flags)
            .arg(file)
            .env("HOME", folder)
            .env("PPROF_TMPDIR", folder),
    )
}

#[test]
fn go_tool_pprof_reads_every_sum_to_the_byte() {
    if !is_there("go", "version") {
        return;
    }
    let folder = Folder::new("go-raw");
    for metric in <Metric as clap::ValueEnum>::value_variants() {
        let file = folder.write("heap.pb.gz", &Pprof { metric: *metric }, &world());
        let raw = pprof(&folder, &["-raw"], &file);
        let mut samples = raw.lines().skip_while(|line| *line != "Samples:").skip(1);
        // With a mark at the one that is shown first.
        let types: Vec<&str> = samples.next().unwrap().split_whitespace().collect();
        let first = types.iter().position(|kind| kind.ends_with("[dflt]")).unwrap();
        // `1 48 1 48: 1 2`; labels stand in lines of their own.
        let values = samples.take_while(|line| *line != "Locations").filter_map(|line| {
            let (values, places) = line.split_once(':')?;
            let is_sample = places.split_whitespace().all(|id| id.parse::<u64>().is_ok());
            values.split_whitespace().nth(first).filter(|_| is_sample)?.parse::<u64>().ok()
        });
        assert_eq!(values.sum::<u64>(), metric.of(&world()).iter().sum::<u64>(), "{metric:?}: {raw}");
        assert!(raw.contains("/usr/bin/server"), "{raw}");
    }
}

#[test]
fn go_tool_pprof_shows_functions_and_what_a_verdict_names() {
    if !is_there("go", "version") {
        return;
    }
    let folder = Folder::new("go-top");
    let file = folder.write("heap.pb.gz", &Pprof::default(), &world());
    let top = pprof(&folder, &["-top", "-unit=B"], &file);
    let line = |function: &str| {
        let of = top.lines().find(|line| line.contains(function));
        of.unwrap_or_else(|| panic!("{function}: {top}")).split_whitespace().next().unwrap().to_owned()
    };
    // It leaves out the parameters of templates.
    let own = ["keep (inline)", "copy (inline)", " main"].map(line);
    assert_eq!(own, ["3000B", "24000B", "8192B"], "{top}");
    assert!(top.contains("Type: inuse_space") && top.contains("35274B total"), "{top}");
    let tags = pprof(&folder, &["-tags", "-unit=B"], &file);
    for tag in [
        "process:",
        "pid:",
        "kind:",
        "allocator:",
        "owner:",
        "thread:",
        "type:",
        "verdict:",
        "Session",
        "LEAK",
    ] {
        assert!(tags.contains(tag), "{tag}: {tags}");
    }
    let leaks = pprof(&folder, &["-top", "-unit=B", "-tagfocus=verdict=LEAK"], &file);
    assert!(leaks.contains("24000B, 68.04% of 35274B total"), "{leaks}");
    let sessions = pprof(&folder, &["-top", "-unit=B", "-tagfocus=type=Session"], &file);
    assert!(sessions.contains("2000B, 5.67% of 35274B total"), "{sessions}");
}
