//! The files that a report is written to, as typed and as meant. The same flags wherever there is a report.

use std::path::PathBuf;

use crate::export::Metric;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Outputs {
    /// Write stacks in flamegraph.pl's folded format
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,

    /// Write the whole report as JSON (schema leaktrace-report, version 2)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a flame graph, SVG: a browser opens it
    #[arg(long, value_name = "FILE")]
    flamegraph: Option<PathBuf>,

    /// Write a heap profile: `go tool pprof` and Pyroscope read it
    #[arg(long, value_name = "FILE")]
    pprof: Option<PathBuf>,

    /// Write a profile for https://www.speedscope.app
    #[arg(long, value_name = "FILE")]
    speedscope: Option<PathBuf>,

    /// Write a profile that Chrome's DevTools open (Memory, Load); name it *.heapprofile
    #[arg(long, value_name = "FILE")]
    heapprofile: Option<PathBuf>,

    /// Write a page with verdicts, flame graph and stacks, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// What these files count of each stack (--json has all; --pprof too, and shows this first)
    #[arg(long, value_enum, value_name = "METRIC", default_value_t)]
    metric: Metric,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Folded,
    Flamegraph,
    Pprof,
    Speedscope,
    HeapProfile,
    Html,
}

/// Where reports go as lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lines {
    Stdout,
    File(PathBuf),
}

/// `jsonl` or `jsonl=FILE`.
pub(super) fn lines(text: &str) -> Result<Lines, String> {
    match text.split_once('=') {
        None if text == "jsonl" => Ok(Lines::Stdout),
        Some(("jsonl", file)) if !file.is_empty() => Ok(Lines::File(file.into())),
        _ => Err("jsonl, or jsonl=FILE".to_owned()),
    }
}

/// Which files a report is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    pub files: Vec<(Format, PathBuf)>,
    pub metric: Metric,
}

impl Outputs {
    pub(super) fn plan(self) -> Exports {
        let Self { folded, json, flamegraph, pprof, speedscope, heapprofile, html, metric } = self;
        let given = [
            (Format::Json, json),
            (Format::Folded, folded),
            (Format::Flamegraph, flamegraph),
            (Format::Pprof, pprof),
            (Format::Speedscope, speedscope),
            (Format::HeapProfile, heapprofile),
            (Format::Html, html),
        ];
        let files = given.into_iter().filter_map(|(format, path)| Some((format, path?)));
        Exports { files: files.collect(), metric }
    }
}
