//! Flame graphs as SVG, drawn by inferno: of one report, or of what changed between two.
//!
//! <https://github.com/jonhoo/inferno/tree/v0.12.8>, <https://www.brendangregg.com/flamegraphs.html>

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use inferno::flamegraph::{
    Options, TextTruncateDirection,
    color::{BackgroundColor, Color, PaletteMap},
    from_lines,
};

use super::{
    frames::{Kind, folded},
    metric::Metric,
    paths::{Roots, lines},
};
use crate::report::{Exporter, Report};

/// Stacks that a verdict names stand together above a frame that says it, `[LEAK]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flamegraph {
    pub metric: Metric,
}

impl Exporter for Flamegraph {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let lines = lines(report, self.metric, Roots::Marked);
        let mut palette = palette(report, &lines);
        let mut options = options(self.metric);
        options.title = format!("leaktrace: {}", self.metric.describe());
        options.subtitle = Some(
            "green: native, yellow: JavaScript, blue: inlined, violet: other code made at run time, grey: others; \
             red and orange: what a verdict names"
                .to_owned(),
        );
        options.palette_map = Some(&mut palette);
        draw(lines.into_iter().map(|(line, value)| format!("{line} {value}")), &mut options, out)
    }
}

/// What `after` has, as wide as it is there: red where a function itself has more than in `before`, blue where it has less.
/// Stacks that are only in `before` have no width. Processes are told apart by name, as their pids differ from run to run.
///
/// # Errors
/// Those of `out`.
pub fn differential(before: &Report, after: &Report, metric: Metric, out: &mut dyn Write) -> io::Result<()> {
    let mut both: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (at, report) in [before, after].into_iter().enumerate() {
        for (line, value) in lines(report, metric, Roots::Compared) {
            both.entry(line).or_default()[at] = value;
        }
    }
    let mut options = options(metric);
    options.title = format!("leaktrace: change of {}", metric.describe());
    options.subtitle =
        Some("as wide as after; red: a function itself has more than before, blue: less".to_owned());
    // Without a width inferno has nothing to draw.
    if both.values().all(|[_, after]| *after == 0) {
        both.clear();
    }
    draw(
        both.into_iter().map(|(line, [before, after])| format!("{line} {before} {after}")),
        &mut options,
        out,
    )
}

fn options(metric: Metric) -> Options<'static> {
    let mut options = Options::default();
    options.count_name = metric.unit().to_owned();
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 250, g: 250, b: 250 }));
    // The same report gives the same picture.
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options
}

fn draw(
    lines: impl Iterator<Item = String>,
    options: &mut Options<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return nothing(&options.title, out);
    }
    let mut svg = Vec::new();
    from_lines(options, lines.iter().map(String::as_str), &mut svg)?;
    out.write_all(&svg)?;
    writeln!(out)
}

/// inferno takes it for an error.
fn nothing(title: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        r#"<svg version="1.1" width="1200" height="60" xmlns="http://www.w3.org/2000/svg"><text x="20" y="35" font-family="monospace">{title}: nothing</text></svg>"#
    )
}

fn palette(report: &Report, lines: &BTreeMap<String, u64>) -> PaletteMap {
    let mut palette = PaletteMap::default();
    let [r, g, b] = colour(Kind::Unknown);
    // Processes, allocators, and the frame below all.
    for part in lines.keys().flat_map(|line| line.split(';')).chain([""]) {
        if palette.get(part).is_none() {
            palette.insert(part, Color { r, g, b });
        }
    }
    for frame in &report.frames {
        let name = folded(frame);
        let colour = shade(colour(Kind::of(frame)), &name);
        palette.insert(name, colour);
    }
    for (mark, [r, g, b]) in
        [("[LEAK PROVEN]", [200, 0, 0]), ("[LEAK]", [225, 30, 30]), ("[SUSPECT]", [250, 140, 20])]
    {
        palette.insert(mark, Color { r, g, b });
    }
    palette
}

const fn colour(kind: Kind) -> [u8; 3] {
    match kind {
        Kind::Native => [125, 195, 125],
        Kind::Inlined | Kind::InlinedJavaScript => [125, 185, 220],
        Kind::JavaScript => [225, 205, 95],
        Kind::Jit => [190, 150, 215],
        Kind::Unknown => [190, 190, 190],
    }
}

/// A little darker or lighter by its name, so that neighbours can be told apart.
fn shade([r, g, b]: [u8; 3], name: &str) -> Color {
    let by = (crc32fast::hash(name.as_bytes()) % 30) as u8;
    Color { r: r + by, g: g + by, b: b + by }
}
