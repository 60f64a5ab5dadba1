//! One page that needs nothing else: verdicts, flame graph, growth, collections, stacks. Opened from a file it loads
//! nothing, which its own policy forbids as well.
//!
//! The flame graph is in a frame of its own, so that its keys (Ctrl-F searches functions) and ids stay there.

mod charts;
mod escape;
mod table;

use std::io::{self, Write};

use escape::Escaped;

use super::{flamegraph::Flamegraph, history::History, metric::Metric};
use crate::report::{
    Exporter, Process, Report, Verdict, VerdictFrame,
    amount::{bytes, count, counted, duration},
};

const STYLE: &str = include_str!("page.css");

/// The picture takes the width of its frame.
const FRAME_STYLE: &str = "body { margin: 0 } body > svg { width: 100% }";

/// The picture fits itself to its window as it loads and when that is resized, but a frame may have no width yet when it
/// loads, and tells nobody when it has.
const FRAME_SCRIPT: &str = "<script>new ResizeObserver(() => dispatchEvent(new Event('resize')))\
    .observe(document.querySelector('svg'))</script>";

/// Styles and scripts are in the page; whatever else is asked for is refused.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-src 'self'";

#[derive(Clone, Copy, Debug, Default)]
pub struct Html<'a> {
    pub metric: Metric,
    /// What was before the report, where that is known.
    pub history: Option<&'a History>,
}

impl Exporter for Html<'_> {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Self { metric, history } = *self;
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>leaktrace</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>leaktrace</h1>\n"
        )?;
        summary(report, out)?;
        verdicts(report, out)?;
        flamegraph(report, metric, out)?;
        charts::growth(report, history, out)?;
        charts::collections(report, out)?;
        table::stacks(report, metric, out)?;
        coverage(report, out)?;
        writeln!(out, "</body>\n</html>")
    }
}

fn summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for Process { pid, comm, command, state, javascript, .. } in &report.processes {
        write!(
            out,
            "<p>{} (pid {pid}, {}): <code>{}</code>",
            Escaped(comm),
            Escaped(state),
            Escaped(command)
        )?;
        if let Some(javascript) = javascript {
            write!(
                out,
                "; {}: {} ± {} live by {}",
                Escaped(&javascript.engine),
                bytes(javascript.live.bytes),
                bytes(javascript.live.error_bytes),
                counted(javascript.live.samples, "sample")
            )?;
        }
        writeln!(out, "</p>")?;
    }
    let totals = &report.totals;
    writeln!(
        out,
        "<p>Traced for {}: <b>{} live</b> in {} of native memory (allocated {} / {}, freed {} / {}).</p>",
        duration(report.traced_ns),
        bytes(totals.live_bytes),
        counted(totals.live_blocks, "block"),
        bytes(totals.alloc_bytes),
        count(totals.allocs),
        bytes(totals.freed_bytes),
        count(totals.frees)
    )
}

fn verdicts(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<h2 id=\"verdicts\">Verdicts</h2>")?;
    let told: Vec<&Verdict> = report.verdicts.iter().filter(|verdict| verdict.is_told()).collect();
    if told.is_empty() {
        let why = if report.judged { "Nothing is suspected." } else { "Too short a time to judge." };
        return writeln!(out, "<p class=\"note\">{why}</p>");
    }
    for verdict in told {
        let class = match () {
            () if verdict.is_leak() => "bad",
            () if verdict.is_bad() => "doubt",
            () => "",
        };
        writeln!(out, "<div class=\"verdict {class}\"><p>{}</p>", Escaped(&verdict.text))?;
        writeln!(out, "<details><summary>{}</summary>", counted(u64::from(verdict.stacks), "stack"))?;
        for frame in &verdict.frames {
            let VerdictFrame { function, module, file, line } = frame;
            let function = function.as_deref().unwrap_or("(unnamed)");
            let place = file.as_deref().or(module.as_deref()).unwrap_or_default();
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            writeln!(out, "<code>{} {}{line}</code><br>", Escaped(function), Escaped(place))?;
        }
        writeln!(out, "</details></div>")?;
    }
    Ok(())
}

fn flamegraph(report: &Report, metric: Metric, out: &mut dyn Write) -> io::Result<()> {
    let mut svg = Vec::new();
    Flamegraph { metric }.write(report, &mut svg)?;
    let svg = String::from_utf8_lossy(&svg);
    // What stands before it is of XML.
    let svg = svg.find("<svg").map_or("", |at| &svg[at..]);
    // Of the frame, in which the picture has a margin.
    let height = height_of(svg).unwrap_or(400) + 20;
    writeln!(out, "<h2 id=\"flamegraph\">Flame graph: {}</h2>", metric.describe())?;
    writeln!(
        out,
        "<iframe title=\"flame graph\" sandbox=\"allow-scripts allow-modals\" height=\"{height}\" srcdoc=\"{}\"></iframe>",
        Escaped(format_args!("<!DOCTYPE html><style>{FRAME_STYLE}</style><body>{svg}{FRAME_SCRIPT}</body>"))
    )?;
    writeln!(
        out,
        "<p class=\"note\">Click on a frame to zoom in; Ctrl-F in the picture searches functions.</p>"
    )
}

fn height_of(svg: &str) -> Option<u32> {
    let (_, after) = svg.split_once("height=\"")?;
    after.split('"').next()?.parse().ok()
}

fn coverage(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let coverage = &report.coverage;
    writeln!(out, "<h2 id=\"coverage\">How far to trust it</h2>")?;
    writeln!(
        out,
        "<p>{} seen, {} lost; {}, {} of them not whole ({} live), {} live without any stack; {} of {} not named.</p>",
        counted(coverage.events_seen, "event"),
        count(coverage.lost),
        counted(coverage.stacks, "stack"),
        count(coverage.stacks_incomplete),
        bytes(coverage.stack_bytes_incomplete),
        bytes(coverage.stack_bytes_unknown),
        count(coverage.addresses_unknown),
        counted(coverage.addresses, "place")
    )?;
    writeln!(
        out,
        "<p class=\"note\">leaktrace {}; everything is in its report by --json.</p>",
        Escaped(&report.leaktrace)
    )
}
