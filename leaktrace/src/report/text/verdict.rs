//! The verdicts, before everything else: who is on call reads these first.

use std::io::{self, Write};

use super::Styles;
use crate::{
    report::{
        Report, Verdict,
        amount::{bytes, duration, signed, signed_count, tally},
    },
    verdict::{Change, Changed, ChangedStack, HeapDiff, Point, stack_name},
};

/// Paragraphs of verdicts, and a line on the rest.
pub(super) fn verdicts(report: &Report, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let Styles { amount, faint, warning } = styles;
    let (told, others): (Vec<&Verdict>, Vec<&Verdict>) =
        report.verdicts.iter().partition(|one| one.is_told());
    for verdict in &told {
        let Verdict { text, heap, pid, process, .. } = verdict;
        let style = if verdict.verdict.starts_with("LEAK") { warning } else { amount };
        let who = match report.process(*process) {
            Some(known) if report.processes.len() > 1 => {
                format!(" ({}, pid {pid})", super::printable(&known.comm))
            }
            _ => String::new(),
        };
        let name = text.get(..verdict.verdict.len()).unwrap_or_default();
        let rest = text.get(verdict.verdict.len()..).unwrap_or(text);
        writeln!(out, "\n{style}{name}{style:#}{rest} {faint}[{heap}]{who}{faint:#}")?;
    }
    if report.judged {
        let names = tally(others.iter().map(|verdict| match verdict.suppressed {
            Some(_) => "suppressed",
            None => &*verdict.verdict,
        }));
        let names = if names.is_empty() { "nothing else to judge" } else { &names };
        let none = if told.is_empty() { "no leak found so far; " } else { "others: " };
        writeln!(out, "\n{none}{names}")?;
        let unknown = report.coverage.stack_bytes_unknown;
        if unknown > 0 {
            writeln!(out, "{warning}not judged: {} live without a known stack{warning:#}", bytes(unknown))?;
        }
    }
    for proof in &report.proofs {
        let who = if report.processes.len() > 1 { format!(" of pid {}", proof.pid) } else { String::new() };
        writeln!(out, "proof{who}: {}", proof.words())?;
    }
    for growing in &report.growing {
        let growth = &growing.growth;
        writeln!(
            out,
            "{} by {}, from {} to {} in {} {faint}(memwatch's rule: an early sign, no verdict){faint:#}",
            growth.reason,
            bytes(growth.growth),
            bytes(growth.start.bytes),
            bytes(growth.end.bytes),
            duration(growth.end.at_ns.saturating_sub(growth.start.at_ns)),
        )?;
    }
    report.diff.as_ref().map_or(Ok(()), |diff| difference(diff, report, styles, out))
}

/// What grew and what shrank: by type, and by the stack that allocated it.
fn difference(diff: &HeapDiff, report: &Report, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let faint = styles.faint;
    let span = duration(diff.to_ns.saturating_sub(diff.from_ns));
    let between = match (diff.from, diff.to) {
        (Point::Mark, Point::Mark) => "between the last two marks",
        (Point::Mark, _) => "since the mark",
        _ => "since tracing began",
    };
    writeln!(out, "\nchange {between}, over {span}: {}", signed(diff.all.bytes))?;
    let line = |change: &Change, what: &str| {
        format!("  {:>12}  {}  {what}", signed(change.bytes), signed_count(change.blocks, "block"))
    };
    for Changed { change, what, .. } in both_ends(&diff.types, TYPES) {
        writeln!(out, "{}", line(change, what))?;
    }
    if diff.types.len() > TYPES {
        writeln!(out, "  {faint}and {} more types (--json){faint:#}", diff.types.len() - TYPES)?;
    }
    // Since tracing began it is what is live, which is listed anyway.
    if diff.from == Point::Start {
        return Ok(());
    }
    writeln!(out, "  {faint}by stack:{faint:#}")?;
    for ChangedStack { stack, change, .. } in both_ends(&diff.stacks, STACKS) {
        let name = stack_name(*stack);
        let known = report.stacks.iter().find(|one| one.stack == name);
        let frames = known.into_iter().flat_map(|one| report.frames_of(one));
        let functions = frames.filter_map(|frame| frame.function.as_deref()).take(FRAMES);
        let place = functions.map(super::printable).collect::<Vec<_>>().join(" < ");
        writeln!(out, "{}", line(change, if place.is_empty() { "(unknown stack)" } else { &place }))?;
    }
    if diff.stacks.len() > STACKS {
        writeln!(out, "  {faint}and {} more stacks (--json){faint:#}", diff.stacks.len() - STACKS)?;
    }
    Ok(())
}

/// So many of a list, if it is longer: half of its start and half of its end, where what shrank most is.
fn both_ends<T>(list: &[T], most: usize) -> impl Iterator<Item = &T> {
    let (first, last) =
        if list.len() <= most { (list.len(), list.len()) } else { (most / 2, list.len() - most / 2) };
    list[..first].iter().chain(&list[last..])
}

/// Lines of a difference by type.
const TYPES: usize = 12;
/// And by stack, each with so many of its innermost frames.
const STACKS: usize = 6;
const FRAMES: usize = 4;
