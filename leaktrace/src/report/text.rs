//! The report for a person at a terminal: what is live, where it was allocated, and how far to trust it.

mod javascript;
mod processes;
mod verdict;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use leaktrace_common::counter::{Counter, Kind};

use super::{
    Coverage, Exporter, Frame, Report, SizeRange,
    amount::{bytes, count, counted, duration},
    group::{Group, groups},
};
use crate::symbolize::{OF_SOURCE_MAPS, file_name};

/// Whether the output may hold ANSI sequences; the caller knows the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Never,
    Always,
}

#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// How many stacks are shown; the others are summed up in a line.
    pub top: usize,
    /// Size histograms, and counters of what is normal.
    pub verbose: bool,
    pub colour: Colour,
    /// Columns; names of frames are shortened to it.
    pub width: usize,
}

pub(super) struct Styles {
    pub(super) amount: Style,
    pub(super) faint: Style,
    pub(super) warning: Style,
}

/// Columns of the longest bar of a histogram.
const BAR: u64 = 30;
const INDENT: &str = "    ";

impl Exporter for Text {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let styles = self.styles();
        header(report, self, &styles, out)?;
        verdict::verdicts(report, &styles, out)?;
        let live = report.stacks.iter().filter(|stack| stack.totals.live_blocks > 0);
        let live: Vec<Group<'_>> = if self.verbose {
            live.map(|stack| Group::of_one(report, stack)).collect()
        } else {
            groups(report, live)
        };
        let (shown, folded) = live.split_at(self.top.min(live.len()));
        for (at, group) in shown.iter().enumerate() {
            writeln!(out)?;
            self.group(report, at + 1, group, &styles, out)?;
        }
        if live.is_empty() {
            writeln!(out, "\nnothing that was allocated is live")?;
        }
        if !folded.is_empty() {
            let rest = folded.iter().map(|group| group.stack.totals.live_bytes).sum();
            writeln!(out, "\nand {}: {}", counted(folded.len() as u64, "more stack"), bytes(rest))?;
        }
        writeln!(out)?;
        if let Some(cost) = &report.cost {
            writeln!(out, "{cost}")?;
        }
        self.coverage(&report.coverage, &styles, out)
    }
}

fn header(report: &Report, text: &Text, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let amount = styles.amount;
    processes::processes(report, text.top, text.width, styles, out)?;
    for one in report.processes.iter().filter_map(|process| process.javascript.as_ref()) {
        javascript::process(one, styles, out)?;
    }
    if let Some(watch) = &report.watch {
        writeln!(out, "attached {watch}")?;
    }
    let totals = report.totals;
    let age = match report.older_than_ns {
        0 => String::new(),
        age => format!(" older than {}", duration(age)),
    };
    writeln!(
        out,
        "traced for {}: {amount}{}{amount:#} live in {}{age}  {}",
        duration(report.traced_ns),
        bytes(totals.live_bytes),
        counted(totals.live_blocks, "block"),
        flow(&totals),
    )
}

fn flow(totals: &super::Totals) -> String {
    let super::Totals { allocs, alloc_bytes, frees, freed_bytes, .. } = *totals;
    let (allocated, freed) = (bytes(alloc_bytes), bytes(freed_bytes));
    format!("(allocated {allocated} / {}, freed {freed} / {})", count(allocs), count(frees))
}

impl Text {
    pub(super) fn styles(&self) -> Styles {
        match self.colour {
            Colour::Never => Styles { amount: Style::new(), faint: Style::new(), warning: Style::new() },
            Colour::Always => Styles {
                amount: Style::new().bold(),
                faint: Style::new().dimmed(),
                warning: AnsiColor::Yellow.on_default(),
            },
        }
    }

    fn group(
        &self,
        report: &Report,
        rank: usize,
        group: &Group<'_>,
        styles: &Styles,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Styles { amount, faint, warning } = styles;
        let Group { stack, frames, left_out, stacks } = group;
        let totals = stack.totals;
        if stack.is_javascript() {
            write!(out, "#{rank}  {amount}{}{amount:#}", javascript::stack(stack))?;
        } else {
            let error = stack.error_bytes.map_or_else(String::new, |error| format!(" ± {}", bytes(error)));
            write!(
                out,
                "#{rank}  {amount}{}{error}{amount:#} in {}  {}",
                bytes(totals.live_bytes),
                counted(totals.live_blocks, "block"),
                flow(&totals),
            )?;
        }
        if let (Some(oldest), Some(median)) = (stack.oldest_age_ns, stack.median_age_ns) {
            write!(out, "  oldest {}, median {}", duration(oldest), duration(median))?;
        }
        if let Some(function) = &stack.function {
            write!(out, "  via {}", printable(function))?;
        }
        if let Some(owner) = &stack.owner {
            write!(out, "  {owner}")?;
        }
        if report.processes.len() > 1 {
            write!(out, "  in pid {}", stack.pid)?;
        }
        writeln!(out)?;
        for frame in frames {
            self.frame(frame, styles, out)?;
        }
        if *left_out > 0 {
            let of = if *stacks > 1 {
                format!("; {stacks} stacks that differ in these only")
            } else {
                String::new()
            };
            let left_out = counted(*left_out as u64, "frame");
            writeln!(out, "{INDENT}{faint}({left_out} of V8 and node not shown{of}){faint:#}")?;
        }
        if stack.frames.is_empty() {
            writeln!(out, "{INDENT}{warning}... {}{warning:#}", stack.stopped)?;
        } else if !stack.complete {
            writeln!(out, "{INDENT}{warning}... stack ends early: {}{warning:#}", stack.stopped)?;
        }
        if self.verbose { histogram(&stack.sizes, styles, out) } else { Ok(()) }
    }

    fn frame(&self, frame: &Frame, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
        let faint = styles.faint;
        let module = frame.module.as_deref().map(file_name);
        let function = match (&frame.function, module, &frame.offset) {
            (Some(function), _, _) => function.clone(),
            (None, Some(module), Some(offset)) => format!("[{module}+{offset}]"),
            _ => format!("[{}]", frame.address),
        };
        let place = match (&frame.file, frame.line, module) {
            (Some(file), Some(line), _) => format!("{file}:{line}"),
            (Some(file), None, _) => file.clone(),
            (None, _, Some(module)) if frame.function.is_some() => format!("({module})"),
            _ => frame.unknown.as_deref().unwrap_or_default().to_owned(),
        };
        let mark = match (frame.inlined, frame.line_of_function) {
            (true, false) => "  (inlined)",
            (false, true) => "  (the function's first line)",
            (true, true) => "  (inlined; the function's first line)",
            (false, false) => "",
        };
        // The name is worth more than the folder that its file is in.
        let room = self.width.saturating_sub(INDENT.len() + mark.len());
        let function = keep_start(&printable(&function), room);
        let left = room.saturating_sub(function.chars().count() + 2);
        let place = keep_end(&printable(&place), left);
        let gap = if place.is_empty() { "" } else { "  " };
        writeln!(out, "{INDENT}{function}{gap}{faint}{place}{mark}{faint:#}")
    }

    fn coverage(&self, coverage: &Coverage, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
        let warning = styles.warning;
        write!(
            out,
            "seen: {} ({}, {})",
            counted(coverage.events_seen, "event"),
            counted(coverage.allocs, "allocation"),
            counted(coverage.frees, "free"),
        )?;
        match coverage.lost {
            0 => writeln!(out, ", nothing lost")?,
            lost => writeln!(out, ", {warning}{} lost{warning:#}", count(lost))?,
        }
        writeln!(
            out,
            "stacks: {}, {} not complete; addresses: {}, {} without a name",
            count(coverage.stacks),
            count(coverage.stacks_incomplete),
            count(coverage.addresses),
            count(coverage.addresses_unknown),
        )?;
        for (counter, number) in coverage.counters.0.iter().filter(|(_, number)| *number > 0) {
            let is_shown = self.verbose || *counter == Counter::FreeUnknown || counter.kind() != Kind::Seen;
            let style = if counter.kind() == Kind::Seen { Style::new() } else { warning };
            if is_shown {
                writeln!(out, "  {style}{} {}{style:#}", count(*number), counter.label())?;
            }
        }
        if coverage.undecodable_records > 0 {
            let records = counted(coverage.undecodable_records, "record");
            writeln!(out, "  {warning}{records} from the kernel side unreadable{warning:#}")?;
        }
        if coverage.stacks_incomplete > 0 {
            let (early, unknown) = (coverage.stack_bytes_incomplete, coverage.stack_bytes_unknown);
            writeln!(
                out,
                "  {} live on stacks that are not complete, {} of it with no stack at all",
                bytes(early),
                bytes(unknown)
            )?;
        }
        for (reason, number) in &coverage.javascript_unread {
            let what = match reason.strip_prefix(OF_SOURCE_MAPS) {
                Some(why) => format!("source maps of {}: {why}", counted(*number, "file")),
                None => format!("{} of JavaScript not read: {reason}", counted(*number, "look")),
            };
            writeln!(out, "  {warning}{what}{warning:#}")?;
        }
        if coverage.exec_dropped_blocks > 0 {
            let blocks = counted(coverage.exec_dropped_blocks, "block");
            writeln!(out, "  {blocks} ({}) ended by exec", bytes(coverage.exec_dropped_bytes))?;
        }
        if coverage.unread_processes > 0 {
            let number = count(coverage.unread_processes);
            writeln!(
                out,
                "  {warning}not traced, as they could not be looked into: {number} of the processes{warning:#}"
            )?;
        }
        if self.verbose {
            details(coverage, out)?;
        }
        Ok(())
    }
}

fn details(coverage: &Coverage, out: &mut dyn Write) -> io::Result<()> {
    let Coverage { unmapped_unknown_bytes, discrepancies, .. } = *coverage;
    if unmapped_unknown_bytes > 0 {
        writeln!(out, "  {} unmapped that were mapped before tracing", bytes(unmapped_unknown_bytes))?;
    }
    if discrepancies > 0 {
        let stacks = counted(discrepancies, "stack");
        writeln!(out, "  {stacks} changed between reading counters and reading blocks")?;
    }
    Ok(())
}

fn histogram(sizes: &[SizeRange], styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let faint = styles.faint;
    let most = sizes.iter().map(|range| range.count).max().unwrap_or(1);
    for SizeRange { from, to, count: number } in sizes {
        let bar = "#".repeat((number * BAR).div_ceil(most) as usize);
        let range = format!("{} to {}", bytes(*from), bytes(to.saturating_add(1)));
        writeln!(out, "{INDENT}{faint}{range:>22}  {:>9}  {bar}{faint:#}", count(*number))?;
    }
    Ok(())
}

/// A traced program chooses its names, and must not write to the terminal by them.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn keep_start(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

fn keep_end(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    match columns {
        _ if length <= columns => text.to_owned(),
        0..8 => String::new(),
        _ => ['…'].into_iter().chain(text.chars().skip(length - columns + 1)).collect(),
    }
}
