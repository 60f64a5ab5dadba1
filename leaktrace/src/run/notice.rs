//! What is said on stderr: one line an event, nothing with `--quiet` but what the user must know.

use std::{num::NonZeroU32, process::ExitStatus};

use super::{
    probes::Attached,
    session::{Found, Notice, Session},
};
use crate::{
    cli::{FailOn, Plan},
    report::Watch,
    symbolize::SymbolizeError,
};

/// What was attached to, in one line. Scripts may wait for it: it starts with `attached`.
pub(super) fn attached(pid: NonZeroU32, comm: &str, files: &[(String, Attached)], plan: &Plan) {
    let list: Vec<String> = files
        .iter()
        .map(|(file, attached)| match (attached.functions, attached.engine_probes) {
            (0, engine) => format!("V8 in {file} ({engine} probes)"),
            (functions, 0) => format!("{file} ({functions} functions, {} probes)", attached.probes),
            (functions, engine) => {
                format!(
                    "{file} ({functions} functions, {} probes) and V8 in it ({engine} probes)",
                    attached.probes
                )
            }
        })
        .collect();
    let list = if list.is_empty() { "probes that are already there".to_owned() } else { list.join(", ") };
    let until = if plan.duration.is_some() { "" } else { "; Ctrl-C stops and reports" };
    crate::say!("attached to {comm} (pid {pid}): {list}{until}");
    let slow: usize = files.iter().map(|(_, attached)| attached.slow).sum();
    if slow > 0 && plan.output.verbose {
        crate::say!(
            "  {slow} probes sit on instructions that the kernel single-steps (in a virtual machine 15 µs a call)"
        );
    }
    let incomplete: usize = files.iter().map(|(_, attached)| attached.incomplete).sum();
    if incomplete > 0 {
        crate::say!(
            "  warning: {incomplete} functions have ways out that are not probed: some of their blocks are missed"
        );
    }
    if plan.follow {
        crate::say!(
            "  --follow: every process that maps these files pays about 1 µs an allocator call while this runs"
        );
    }
}

/// The same of every process there is.
pub(super) fn attached_to_all(found: &Found, plan: &Plan) {
    let Found { processes, files, without_allocator, unread, example } = found;
    let list: Vec<&str> = files.iter().map(String::as_str).collect();
    let until = if plan.duration.is_some() { "" } else { "; Ctrl-C stops and reports" };
    crate::say!(
        "attached to {processes} processes, and to those that begin from now on: {}{until}",
        if list.is_empty() { "no allocator is mapped yet".to_owned() } else { list.join(", ") }
    );
    if *without_allocator > 0 {
        crate::say!("  {without_allocator} processes have no allocator that is known, and are not traced");
    }
    if let Some((pid, why)) = example {
        crate::say!(
            "  warning: not traced, as they could not be looked into: {unread} of the processes, such as pid {pid}: {why}"
        );
    }
}

/// Where metrics are.
pub(super) fn served(address: std::net::SocketAddr) {
    crate::say!("metrics are served at http://{address}/metrics");
}

/// The heap that was watched grows.
pub(super) fn grows(watch: &Watch) {
    crate::say!("attaching probes {watch}");
}

/// What happened while tracing.
pub(super) fn print(notices: impl Iterator<Item = Notice>, plan: &Plan) {
    for notice in notices {
        match notice {
            Notice::AttachedLate { pid, file, functions } => {
                crate::say!(
                    "attached to {file} too ({functions} functions), which pid {pid} has just mapped"
                );
            }
            Notice::NotFollowed { parent, child } if plan.output.verbose => {
                crate::say!("pid {parent} forked {child}, which is not traced");
            }
            Notice::NoTables(why) => crate::say!("  warning: stacks may end early: {why}"),
            Notice::Unseen(why) => crate::say!("  warning: memory may go unseen: {why}"),
            Notice::Exec { pid, comm } if plan.output.verbose => crate::say!("pid {pid} runs {comm} now"),
            Notice::NotFollowed { .. } | Notice::Exec { .. } => {}
        }
    }
}

/// A mark was set (SIGUSR1, Enter). Scripts may wait for it as for `attached`.
pub(super) fn marked() {
    crate::say!("marked: reports say what has changed since, or between this and the next mark");
}

/// `--fail-on leak` cannot have found one.
pub(super) fn too_short(plan: &Plan, traced: std::time::Duration) {
    let needed = plan.epoch * crate::verdict::LEAK_EPOCHS;
    if plan.fail_on == Some(FailOn::Leak) && traced < needed {
        let (epoch, needed) = (humantime::format_duration(plan.epoch), humantime::format_duration(needed));
        crate::say!(
            "--fail-on leak: no leak is called before {needed} at --epoch {epoch}, and this took {:.0} s; \
             a shorter --epoch answers sooner, --fail-on suspect needs some epochs only",
            traced.as_secs_f64()
        );
    }
}

/// What the numbers leave out.
pub(super) fn at_end(session: &Session, plan: &Plan) {
    if session.not_followed > 0 && !plan.output.verbose {
        let children = session.not_followed;
        crate::say!("{children} forked children were not traced; trace them too with --follow");
    }
}

/// The report comes without names.
pub(super) fn no_names(error: &SymbolizeError) {
    crate::say!("warning: functions have no names in this report: {error}");
}

/// The program that leaktrace started, after the report.
pub(super) fn left(pid: u32, status: Option<ExitStatus>) {
    match status {
        Some(status) if !status.success() => crate::say!("the program ended with {status}"),
        Some(_) => {}
        None => crate::say!("the program (pid {pid}) goes on, no longer traced"),
    }
}
