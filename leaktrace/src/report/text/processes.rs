//! The processes: each by itself where they are few, a ranking where they are many.

use std::io::{self, Write};

use super::{Styles, keep_start, printable};
use crate::report::{
    Process, Report,
    amount::{bytes, counted},
    ranking::{Ranked, ranking},
};

/// More than these are ranked.
const FEW: usize = 4;
/// Columns of what stands before a process's name.
const NUMBERS: usize = 66;

pub(super) fn processes(
    report: &Report,
    top: usize,
    width: usize,
    styles: &Styles,
    out: &mut dyn Write,
) -> io::Result<()> {
    let faint = styles.faint;
    if report.processes.len() <= FEW && report.coverage.ended_processes == 0 {
        return report.processes.iter().try_for_each(|process| {
            let who = who(process);
            write!(out, "{who}")?;
            match printable(&process.command).as_str() {
                "" => writeln!(out),
                command => {
                    let command = keep_start(command, width.saturating_sub(who.chars().count() + 2));
                    writeln!(out, "  {faint}{command}{faint:#}")
                }
            }
        });
    }
    let ended = report.coverage.ended_processes;
    let number = report.processes.len();
    let noun = if number == 1 { "process" } else { "processes" };
    write!(out, "{} {noun}", super::count(number as u64))?;
    if ended > 0 {
        write!(out, ", and {} that ended and left nothing to say", super::count(ended))?;
    }
    writeln!(out, ". What each allocated since tracing began and keeps:")?;
    writeln!(
        out,
        "  {faint}{:>10}  {:>12}  {:>12}  {:<22}  process{faint:#}",
        "native", "JavaScript", "leaking", ""
    )?;
    let ranked = ranking(report);
    let worth_a_row = ranked.iter().take_while(|one| one.keeps_or_leaks()).count();
    let (shown, folded) = ranked.split_at(top.min(worth_a_row));
    for one in shown {
        row(one, width, styles, out)?;
    }
    if !folded.is_empty() {
        let kept = folded.iter().map(|one| one.live_bytes).sum();
        let left = folded.len() as u64;
        writeln!(
            out,
            "  {faint}and {} more, which keep {} of native memory (--top, --json){faint:#}",
            super::count(left),
            bytes(kept)
        )?;
    }
    Ok(())
}

fn row(one: &Ranked<'_>, width: usize, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let Styles { amount, faint, warning } = styles;
    let Ranked { process, leaks, suspects, leaking, live_bytes, javascript_bytes, .. } = one;
    let javascript = javascript_bytes.map_or_else(String::new, |estimate| format!("~{}", bytes(estimate)));
    let rate = if *leaks + *suspects > 0 {
        format!("{}/min", bytes((leaking * 60.0) as u64))
    } else {
        String::new()
    };
    let called: Vec<String> = [(*leaks, "leak"), (*suspects, "suspect")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| counted(number as u64, what))
        .collect();
    let style = if *leaks > 0 { warning } else { faint };
    write!(
        out,
        "  {amount}{:>10}{amount:#}  {javascript:>12}  {style}{rate:>12}  {:<22}{style:#}  ",
        bytes(*live_bytes),
        called.join(", "),
    )?;
    let who = who(process);
    let room = width.saturating_sub(NUMBERS + who.chars().count() + 2);
    writeln!(out, "{who}  {faint}{}{faint:#}", keep_start(&printable(&process.command), room))
}

/// `node (pid 7, exited)`
fn who(process: &Process) -> String {
    let comm = if process.comm.is_empty() { "process".to_owned() } else { printable(&process.comm) };
    let state = if process.state == "running" { "" } else { &process.state };
    let comma = if state.is_empty() { "" } else { ", " };
    format!("{comm} (pid {}{comma}{state})", process.pid)
}
