//! Small pictures, as SVG within the page.
//!
//! A report carries no history of native memory, so what a verdict's chart shows is its rate and how sure that is, over the
//! time that was judged. A JavaScript heap's is what was left after each collection. A recording has the history: what all
//! and each verdict's stacks held at its moments.

use std::io::{self, Write};

use super::{
    super::{history::History, marks::is_drawn},
    escape::Escaped,
};
use crate::report::{
    Cycle, JavaScript, Process, Report, Verdict,
    amount::{self, duration, pause},
};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 140.0;
/// Room for the words at the edges.
const EDGE: f64 = 18.0;
const NS_PER_S: f64 = 1e9;

/// How fast what is called a leak or a suspect grows, and what collections left of JavaScript heaps.
pub(super) fn growth(report: &Report, history: Option<&History>, out: &mut dyn Write) -> io::Result<()> {
    // One moment is no line.
    let history = history.filter(|history| history.at_ns.len() > 1);
    let verdicts = report.verdicts.iter().filter(|verdict| is_drawn(verdict));
    let heaps = heaps(report);
    if verdicts.clone().next().is_none() && heaps.is_empty() && history.is_none() {
        return Ok(());
    }
    writeln!(out, "<h2 id=\"growth\">Growth</h2>\n<div class=\"charts\">")?;
    if let Some(history) = history {
        all(history, out)?;
    }
    for (number, verdict) in verdicts.enumerate() {
        rate(verdict, out)?;
        if let Some((history, held)) =
            history.and_then(|history| Some((history, history.verdicts.get(number)?)))
        {
            let points = history.at_ns.iter().copied().zip(held.iter().copied()).collect::<Vec<_>>();
            let caption = format!("{} {}: live bytes of its stacks", verdict.verdict, name(verdict));
            line(&points, &caption, out)?;
        }
    }
    for (process, javascript, heap) in heaps {
        after_collections(process, javascript, heap, out)?;
    }
    writeln!(out, "</div>")
}

/// A line for each collection, as long as its pause.
pub(super) fn collections(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let with = report.processes.iter().filter_map(|process| Some((process, process.javascript.as_ref()?)));
    let with: Vec<_> = with.filter(|(_, javascript)| !javascript.collections.is_empty()).collect();
    if with.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2 id=\"collections\">Garbage collections</h2>\n<div class=\"charts\">")?;
    for (process, javascript) in with {
        let cycles = &javascript.collections;
        let longest = cycles.iter().map(|cycle| cycle.pause_ns).max().unwrap_or(0);
        let scale = Scale::new(report.traced_ns as f64, longest as f64);
        open(&pause(longest), &duration(report.traced_ns), out)?;
        for cycle in cycles {
            let (x, y) = scale.at(cycle.at_ns as f64, cycle.pause_ns as f64);
            let class = if cycle.collector == MAJOR { "major" } else { "minor" };
            write!(
                out,
                "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{y:.1}\"><title>{}, {}: {} at {}</title></line>",
                HEIGHT - EDGE,
                Escaped(&cycle.collector),
                Escaped(&cycle.reason),
                pause(cycle.pause_ns),
                duration(cycle.at_ns)
            )?;
        }
        let left_out = match javascript.collections_left_out {
            0 => String::new(),
            count => format!("; {count} older ones not shown"),
        };
        close(
            &format!(
                "Pauses of {} (pid {}): {} minor, {} major (red){left_out}",
                process.comm, process.pid, javascript.minor.count, javascript.major.count
            ),
            out,
        )?;
    }
    writeln!(out, "</div>")
}

/// [`Cycle::collector`] of a whole collection.
const MAJOR: &str = "mark-compact";

/// All live memory at each moment.
fn all(history: &History, out: &mut dyn Write) -> io::Result<()> {
    let at = || history.at_ns.iter().copied();
    line(&at().zip(history.native.iter().copied()).collect::<Vec<_>>(), "Live bytes of native memory", out)?;
    let known = at().zip(&history.javascript).filter_map(|(at, live)| Some((at, (*live)?)));
    let known: Vec<(u64, u64)> = known.collect();
    if known.len() > 1 { line(&known, "Live bytes of JavaScript, by samples", out) } else { Ok(()) }
}

/// From 0 on; times in nanoseconds, and bytes.
fn line(points: &[(u64, u64)], caption: &str, out: &mut dyn Write) -> io::Result<()> {
    let end = points.iter().map(|(at, _)| *at).max().unwrap_or(0);
    let most = points.iter().map(|(_, live)| *live).max().unwrap_or(0) as f64;
    let scale = Scale::new(end as f64, most);
    open(&bytes(most), &duration(end), out)?;
    write!(out, "<path class=\"line\" d=\"")?;
    for (number, (at, live)) in points.iter().enumerate() {
        let (x, y) = scale.at(*at as f64, *live as f64);
        write!(out, "{}{x:.1} {y:.1} ", if number == 0 { 'M' } else { 'L' })?;
    }
    write!(out, "\"/>")?;
    close(caption, out)
}

fn name(verdict: &Verdict) -> &str {
    verdict.frames.iter().find_map(|frame| frame.function.as_deref()).unwrap_or("(unnamed)")
}

fn rate(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let window = verdict.evidence.window_ns as f64 / NS_PER_S;
    let ends = [verdict.bytes_per_second_low, verdict.bytes_per_second, verdict.bytes_per_second_high]
        .map(|rate| rate.max(0.0) * window);
    let scale = Scale::new(window, ends[2].max(ends[1]));
    let (x0, y0) = scale.at(0.0, 0.0);
    let [(x, low), (_, middle), (_, high)] = ends.map(|bytes| scale.at(window, bytes));
    open(&bytes(ends[2].max(ends[1])), &duration(verdict.evidence.window_ns), out)?;
    write!(
        out,
        "<path class=\"band\" d=\"M{x0:.1} {y0:.1} L{x:.1} {low:.1} L{x:.1} {high:.1} Z\"/>\
         <path class=\"line\" d=\"M{x0:.1} {y0:.1} L{x:.1} {middle:.1}\"/>"
    )?;
    let named = name(verdict);
    close(
        &format!(
            "{} {named}: {}/s, with 95 % confidence {} to {}; {} by the end of the time judged",
            verdict.verdict,
            bytes(verdict.bytes_per_second),
            bytes(verdict.bytes_per_second_low),
            bytes(verdict.bytes_per_second_high),
            bytes(ends[1])
        ),
        out,
    )
}

/// Isolates with at least two whole collections whose heap is known.
fn heaps(report: &Report) -> Vec<(&Process, &JavaScript, &str)> {
    let mut heaps = Vec::new();
    for process in &report.processes {
        let Some(javascript) = &process.javascript else { continue };
        let mut names: Vec<&str> = known(javascript).map(|(cycle, _)| cycle.heap.as_str()).collect();
        names.sort_unstable();
        let count = |heap: &str| names.iter().filter(|name| **name == heap).count();
        let mut several: Vec<&str> = names.iter().copied().filter(|heap| count(heap) > 1).collect();
        several.dedup();
        heaps.extend(several.into_iter().map(|heap| (process, javascript, heap)));
    }
    heaps
}

/// Whole collections and the bytes that were left after each.
fn known(javascript: &JavaScript) -> impl Iterator<Item = (&Cycle, u64)> {
    let major = javascript.collections.iter().filter(|cycle| cycle.collector == MAJOR);
    major.filter_map(|cycle| Some((cycle, cycle.after?)))
}

fn after_collections(
    process: &Process,
    javascript: &JavaScript,
    heap: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let own = known(javascript).filter(|(cycle, _)| cycle.heap == heap);
    let points: Vec<(u64, u64)> = own.map(|(cycle, after)| (cycle.at_ns, after)).collect();
    let caption = format!(
        "JavaScript heap {heap} of {} (pid {}): bytes left after each whole collection",
        process.comm, process.pid
    );
    line(&points, &caption, out)
}

/// From what is measured to places in the picture.
struct Scale {
    x: f64,
    y: f64,
}

impl Scale {
    fn new(most_x: f64, most_y: f64) -> Self {
        let per = |room: f64, most: f64| if most > 0.0 { room / most } else { 0.0 };
        Self { x: per(WIDTH - 2.0 * EDGE, most_x), y: per(HEIGHT - 2.0 * EDGE, most_y) }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (EDGE + x * self.x, HEIGHT - EDGE - y * self.y)
    }
}

fn open(most: &str, end: &str, out: &mut dyn Write) -> io::Result<()> {
    let (bottom, right) = (HEIGHT - EDGE, WIDTH - EDGE);
    write!(
        out,
        "<figure><svg class=\"chart\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\
         <line class=\"axis\" x1=\"{EDGE}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text x=\"{EDGE}\" y=\"13\">{}</text><text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        Escaped(most),
        HEIGHT - 4.0,
        Escaped(end)
    )
}

fn close(caption: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "</svg><figcaption>{}</figcaption></figure>", Escaped(caption))
}

fn bytes(number: f64) -> String {
    amount::bytes(number.max(0.0) as u64)
}
