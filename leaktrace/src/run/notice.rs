//! What is said on stderr: one line an event, nothing with `--quiet` but what the user must know.

use std::{num::NonZeroU32, process::ExitStatus};

use super::{
    probes::Attached,
    session::{Notice, Session},
};
use crate::{cli::Plan, symbolize::SymbolizeError};

/// What was attached to, in one line. Scripts may wait for it: it starts with `attached`.
pub(super) fn attached(pid: NonZeroU32, comm: &str, files: &[(String, Attached)], plan: &Plan) {
    let list: Vec<String> = files
        .iter()
        .map(|(file, attached)| {
            format!("{file} ({} functions, {} probes)", attached.functions, attached.probes)
        })
        .collect();
    let list = if list.is_empty() { "probes that are already there".to_owned() } else { list.join(", ") };
    let until = if plan.duration.is_some() { "" } else { "; Ctrl-C stops and reports" };
    eprintln!("attached to {comm} (pid {pid}): {list}{until}");
    let slow: usize = files.iter().map(|(_, attached)| attached.slow).sum();
    if slow > 0 && plan.output.verbose {
        eprintln!(
            "  {slow} probes sit on instructions that the kernel single-steps (in a virtual machine 15 µs a call)"
        );
    }
    let incomplete: usize = files.iter().map(|(_, attached)| attached.incomplete).sum();
    if incomplete > 0 {
        eprintln!(
            "  warning: {incomplete} functions have ways out that are not probed: some of their blocks are missed"
        );
    }
    if plan.follow {
        eprintln!(
            "  --follow: every process that maps these files pays about 1 µs an allocator call while this runs"
        );
    }
}

/// What happened while tracing.
pub(super) fn print(notices: impl Iterator<Item = Notice>, plan: &Plan) {
    for notice in notices {
        match notice {
            Notice::AttachedLate { pid, file, functions } => {
                eprintln!("attached to {file} too ({functions} functions), which pid {pid} has just mapped");
            }
            Notice::NotFollowed { parent, child } if plan.output.verbose => {
                eprintln!("pid {parent} forked {child}, which is not traced");
            }
            Notice::NoTables(why) => eprintln!("  warning: stacks may end early: {why}"),
            Notice::Unseen(why) => eprintln!("  warning: memory may go unseen: {why}"),
            Notice::Exec { pid, comm } if plan.output.verbose => eprintln!("pid {pid} runs {comm} now"),
            Notice::NotFollowed { .. } | Notice::Exec { .. } => {}
        }
    }
}

/// What the numbers leave out.
pub(super) fn at_end(session: &Session, plan: &Plan) {
    if session.not_followed > 0 && !plan.output.verbose {
        let children = session.not_followed;
        eprintln!("{children} forked children were not traced; trace them too with --follow");
    }
}

/// The report comes without names.
pub(super) fn no_names(error: &SymbolizeError) {
    eprintln!("warning: functions have no names in this report: {error}");
}

/// The program that leaktrace started, after the report.
pub(super) fn left(pid: u32, status: Option<ExitStatus>) {
    match status {
        Some(status) if !status.success() => eprintln!("the program ended with {status}"),
        Some(_) => {}
        None => eprintln!("the program (pid {pid}) goes on, no longer traced"),
    }
}
