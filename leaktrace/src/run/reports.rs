//! Reports are made of what is known, and printed.

use super::{
    Failure,
    judging::{self, Judging},
    notice,
    output::to_stdout,
    outputs::Outputs,
    session::Session,
    windows::Windows,
};
use crate::{
    cli::{self, Plan},
    report::{self, Exporter as _, Report, Text},
    symbolize::{Names, Symbolizer as _},
};

/// The report of what is known now.
pub(super) fn made(
    plan: &Plan,
    session: &mut Session,
    names: &mut Names,
    judging: &Judging,
    windows: &Windows,
) -> Report {
    session.offer_perf_maps();
    let places = session.ledger.places();
    session.name_javascript(&places, names);
    if let Err(error) = session.symbols.resolve(&places, names) {
        // What was gathered is worth more than its names.
        notice::no_names(&error);
    }
    let report = booked(plan, session, names, windows, true);
    judging.complete(report, session, names)
}

/// Sums and verdicts alone, for who needs them often: without frames and without what changed by type.
pub(super) fn summed(
    plan: &Plan,
    session: &mut Session,
    names: &Names,
    judging: &Judging,
    windows: &Windows,
) -> Report {
    booked(plan, session, names, windows, false).with_verdicts(&judging.judges, names, &session.ledger)
}

fn booked(plan: &Plan, session: &mut Session, names: &Names, windows: &Windows, frames: bool) -> Report {
    let older_than_ns = plan.older_than.map_or(0, |age| age.as_nanos() as u64);
    let options = report::Options { older_than_ns, frames };
    let mut report = Report::new(&session.ledger, names, options);
    report.watch = session.watch;
    windows.complete(&mut report, session);
    report.coverage.unread_processes = session.unread_processes();
    report
}

pub(super) fn show(
    plan: &Plan,
    session: &mut Session,
    names: &mut Names,
    (judging, windows): (&Judging, &Windows),
    outputs: &mut Outputs,
) -> Result<(), Failure> {
    if !(plan.output.is_text() || outputs.are_due()) {
        return Ok(());
    }
    let begun = std::time::Instant::now();
    let report = made(plan, session, names, judging, windows);
    outputs.write_so_far(&report, begun)?;
    if !plan.output.is_text() {
        return Ok(());
    }
    print(&plan.output, &report)?;
    to_stdout(|out| writeln!(out)).map_err(|source| Failure::Io { doing: "printing the report", source })
}

/// How text is printed.
pub(super) fn style(output: &cli::Output) -> Text {
    let colour = match output.colour {
        cli::Colour::Plain => report::Colour::Never,
        cli::Colour::Ansi => report::Colour::Always,
    };
    let width = terminal_size::terminal_size().map_or(120, |(width, _)| usize::from(width.0));
    Text { top: output.top, verbose: output.verbose, colour, width }
}

pub(super) fn print(output: &cli::Output, report: &Report) -> Result<(), Failure> {
    let text = style(output);
    to_stdout(|out| text.write(report, out))
        .map_err(|source| Failure::Io { doing: "printing the report", source })
}

/// Whatever ended the trace, what it gathered is shown.
pub(super) fn finish(
    plan: &Plan,
    mut session: Session,
    mut names: Names,
    (mut judging, windows): (Judging, Windows),
    mut outputs: Outputs,
    traced: Result<(), Failure>,
) -> Result<(), Failure> {
    // First: once nothing is recorded, what is freed would seem to live, and its memory would say otherwise.
    let judged = judging.end(&mut session, &mut names);
    let read = judged.and(session.freeze()).and_then(|()| session.snapshot());
    notice::print(session.notices.drain(..), plan);
    let report = made(plan, &mut session, &mut names, &judging, &windows);
    let printed = if plan.output.is_text() { print(&plan.output, &report) } else { Ok(()) };
    let push = outputs.push.take();
    let written = outputs.end(&report);
    notice::at_end(&session, plan);
    // A store may keep us waiting: by then nothing of ours stands in the processes any more.
    drop((session, windows));
    let pushed = push.map_or(Ok(()), |push| push.end(&report));
    let told = printed.and(written).and(pushed);
    traced.and(read).and(told).and_then(|()| judging::verdict(&report, plan.fail_on))
}
