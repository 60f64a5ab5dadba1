//! The stacks, most first.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use super::escape::Escaped;
use crate::{
    export::{
        frames::{Kind, file, name},
        marks::Marks,
        metric::Metric,
        paths::{Path, paths},
    },
    report::{
        Frame, Report, Stack,
        amount::{bytes, count},
    },
};

/// More rows than anyone reads; the rest is one row, so that the sum is that of the report.
const MOST: usize = 500;

pub(super) fn stacks(report: &Report, metric: Metric, out: &mut dyn Write) -> io::Result<()> {
    let mut paths: Vec<Path<'_>> = paths(report, metric).collect();
    paths.sort_by_key(|path| Reverse(path.value));
    let marks = Marks::of(report);
    writeln!(out, "<h2 id=\"stacks\">Stacks, by {}</h2>", metric.describe())?;
    writeln!(
        out,
        "<table>\n<tr><th class=\"number\">{}</th><th class=\"number\">live</th><th class=\"number\">allocated</th>\
         <th>memory</th><th>stack</th></tr>",
        metric.describe()
    )?;
    let (shown, rest) = paths.split_at(paths.len().min(MOST));
    for path in shown {
        row(report, metric, path, marks.name(path.stack), out)?;
    }
    if !rest.is_empty() {
        let value: u64 = rest.iter().map(|path| path.value).sum();
        write!(out, "<tr>")?;
        number(value, &amount(value, metric), out)?;
        writeln!(out, "<td></td><td></td><td></td><td>{} more stacks</td></tr>", count(rest.len() as u64))?;
    }
    writeln!(out, "</table>")
}

fn row(
    report: &Report,
    metric: Metric,
    path: &Path<'_>,
    mark: Option<&str>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Stack { totals, kind, owner, error_bytes, .. } = path.stack;
    write!(out, "<tr>")?;
    number(path.value, &amount(path.value, metric), out)?;
    let error = error_bytes.map_or_else(String::new, |error| format!(" ± {}", bytes(error)));
    let live = format!("{}{error} / {}", bytes(totals.live_bytes), count(totals.live_blocks));
    let allocated = format!("{} / {}", bytes(totals.alloc_bytes), count(totals.allocs));
    write!(out, "<td class=\"number\">{live}</td><td class=\"number\">{allocated}</td><td>")?;
    if let Some(mark) = mark {
        write!(out, "<b>{}</b> ", Escaped(mark))?;
    }
    write!(out, "{}", Escaped(owner.as_ref().unwrap_or(kind)))?;
    for kind in path.stack.types.iter().take(3) {
        write!(out, "<br>{} {}", Escaped(&kind.name), bytes(kind.live.bytes))?;
    }
    writeln!(out, "</td><td><details><summary><code>{}</code></summary>", Escaped(headline(report, path)))?;
    for frame in report.frames_of(path.stack) {
        writeln!(
            out,
            "<code>{}{}</code> <span class=\"note\">{}</span><br>",
            Escaped(name(frame)),
            Escaped(place(frame)),
            Kind::of(frame).describe()
        )?;
    }
    if let Some(lack) = path.lack() {
        writeln!(out, "<code>{}</code><br>", Escaped(lack))?;
    }
    writeln!(out, "<code>{}</code></details></td></tr>", Escaped(path.process_name()))
}

/// The first function of JavaScript, which is the program's or node's own, else the allocator's caller.
fn headline(report: &Report, path: &Path<'_>) -> String {
    let mut frames = report.frames_of(path.stack);
    let caller = frames.next();
    let told = caller.into_iter().chain(frames).find(|frame| frame.is_javascript()).or(caller);
    match told {
        Some(frame) => format!("{}{}", name(frame), place(frame)),
        None => path.lack().unwrap_or_else(|| path.allocator().to_owned()),
    }
}

fn place(frame: &Frame) -> String {
    let Some(file) = file(frame) else { return String::new() };
    match (frame.line, frame.column) {
        (Some(line), Some(column)) => format!("  {file}:{line}:{column}"),
        (Some(line), None) => format!("  {file}:{line}"),
        (None, _) => format!("  {file}"),
    }
}

/// With the number itself, for programs.
fn number(value: u64, shown: &str, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "<td class=\"number\" data-value=\"{value}\">{shown}</td>")
}

fn amount(value: u64, metric: Metric) -> String {
    if metric.is_bytes() { bytes(value) } else { count(value) }
}
