//! Replays every recording below `streams/` and keeps the report of each snapshot in it.
//!
//! Names are not recorded, so frames show as module and offset.

#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use leaktrace::{
    event::{Progress, Source},
    export::Folded,
    ledger::Ledger,
    record::Recording,
    report::{Colour, Exporter, Options, Report, Text},
    symbolize::Names,
};

fn streams() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The report at each snapshot.
fn replay(file: &Path) -> Vec<Report> {
    let mut recording = Recording::read(BufReader::new(File::open(file).unwrap())).unwrap();
    assert_eq!(recording.broken(), None);
    let mut ledger = Ledger::new(recording.page());
    let (mut events, mut reports) = (Vec::new(), Vec::new());
    while recording.pull(&mut events).unwrap() == Progress::More {
        events.drain(..).for_each(|event| ledger.apply(&event));
        ledger.snapshot(recording.snapshot().unwrap());
        reports.push(Report::new(&ledger, &Names::default(), Options::default()));
    }
    reports
}

fn written(exporter: &dyn Exporter, report: &Report) -> String {
    let mut out = Vec::new();
    exporter.write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn recorded_streams_give_the_reports_they_gave_before() {
    let files = streams();
    assert!(!files.is_empty());
    let text = Text { top: 20, verbose: true, colour: Colour::Never, width: 100 };
    for file in files {
        let reports: Vec<String> = replay(&file)
            .iter()
            .map(|report| format!("{}\n{}", written(&text, report), written(&Folded::default(), report)))
            .collect();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, reports.join("\n-----\n\n"));
        });
    }
}

#[test]
fn sums_agree_in_every_replayed_report() {
    for report in streams().iter().flat_map(|file| replay(file)) {
        let folded = written(&Folded::default(), &report);
        let sum: u64 =
            folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, report.totals.live_bytes);
        let live: u64 = report.stacks.iter().map(|stack| stack.totals.live_bytes).sum();
        assert_eq!(live, report.totals.live_bytes);
        let blocks: u64 = report.stacks.iter().flat_map(|stack| &stack.sizes).map(|range| range.count).sum();
        assert_eq!(blocks, report.totals.live_blocks);
    }
}
