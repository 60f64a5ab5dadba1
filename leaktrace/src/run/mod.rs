//! The wiring: from a plan to a report. The only async code.

mod census;
pub mod demo;
mod engines;
mod failure;
mod judging;
mod keys;
pub mod launch;
mod lines;
mod metrics;
mod notice;
mod output;
mod outputs;
mod placed;
mod probes;
mod proving;
mod push;
mod recorded;
mod recording;
mod session;
mod share;
mod spaces;
mod unwinding;
mod verifying;
mod watch;
mod watching;
mod windows;

use std::{collections::HashSet, num::NonZeroU32, process::Child, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, sleep, sleep_until},
};

pub use census::census;
use demo::Demo;
use engines::Engines;
pub use failure::Failure;
use judging::Judging;
use launch::Waiting;
use metrics::Metrics;
use output::{Output, to_stdout};
use outputs::Outputs;
use probes::{Attached, Heaps, Probes};
pub use recorded::{diff, report};
use session::Session;
use watching::{Watched, until_it_grows};
use windows::Windows;

use crate::{
    binary::loader,
    cli::{self, Plan, Targets},
    kernel::{self, Kernel, Registers},
    process::OpenBinary,
    record::Recorder,
    report::{self, Exporter as _, Report, Text},
    symbolize::{Names, Symbolizer as _},
    target::Wanted,
};

/// How often tables are cleared of programs that are gone, when any went.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// A program started by leaktrace.
enum Started {
    Waiting(Waiting),
    Running(Child),
}

/// Traces as planned and prints the report.
///
/// # Errors
/// What kept it from tracing, or went wrong while it did; in that case what was gathered is printed first.
pub fn run(plan: &Plan) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { doing: "starting the event loop", source })?;
    runtime.block_on(trace(plan))
}

async fn trace(plan: &Plan) -> Result<(), Failure> {
    let mut outputs = Outputs::open(&plan.output)?;
    let stream = plan.output.stream.as_deref().map(Output::open).transpose()?;
    let metrics = plan.output.metrics.as_deref().map(Metrics::serve).transpose()?;
    let mut judging = Judging::new(plan)?;
    // Signals are caught before anything is placed, so that Ctrl-C always ends with a report.
    let caught = |kind| signal(kind).map_err(|source| Failure::Io { doing: "catching signals", source });
    let (mut interrupted, mut terminated) =
        (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let mut marked = caught(SignalKind::user_defined1())?;

    let watch = match (plan.watch, &plan.targets) {
        (Some(every), Targets::Pids(pids)) => {
            let signals = [&mut interrupted, &mut terminated];
            match until_it_grows(pids[0], every, plan.min_rate, signals).await? {
                Watched::Grows(watch) => Some(watch),
                Watched::Ended => return Ok(()),
            }
        }
        _ => None,
    };
    if let Some(watch) = &watch {
        notice::grows(watch);
    }
    let demo = match plan.targets {
        Targets::Demo { node } => Some(
            Demo::start(node)
                .map_err(|source| Failure::Io { doing: "starting the demo's program", source })?,
        ),
        _ => None,
    };
    let (mut session, registers) = prepare(plan, stream)?;
    session.watch = watch;
    if let Some(registers) = registers {
        judging.prove_by(registers)?;
    }
    let (mut started, attached) = add_targets(&mut session, plan, demo.as_ref())?;
    let found = session.look_for_processes()?;
    let mut windows = Windows::new(plan, &mut session);
    session.begin()?;
    outputs.begin();
    // Scripts wait for these lines: from here on nothing is missed.
    for (pid, name, files) in &attached {
        notice::attached(*pid, name, files, plan);
    }
    if plan.targets.are_all() {
        notice::attached_to_all(&found, plan);
    }
    if let Some(metrics) = &metrics {
        notice::served(metrics.address);
    }
    session.warn_of_unmatched_prefixes(&plan.prefixes);
    if let Some(Started::Waiting(waiting)) = started {
        started = Some(Started::Running(waiting.start()?));
    }

    let begun = Instant::now();
    let end = plan.duration.map(|duration| begun + duration);
    let mut scrapes = every(metrics::EVERY, begun);
    let push_every = plan.output.push.as_ref().map_or(metrics::EVERY, |(_, period)| *period);
    let mut pushes = every(push_every, begun);
    let mut housekeeping = every(HOUSEKEEPING, begun);
    let mut reports = every(plan.interval.unwrap_or(HOUSEKEEPING), begun);
    let mut names = Names::default();
    let mut keys = keys::lines(&plan.targets);
    judging.begin(begun);
    if let Some(metrics) = &metrics {
        metrics.update(&summed(plan, &mut session, &names, &judging, &windows));
    }
    let traced: Result<(), Failure> = loop {
        let search_due = judging.search_due();
        tokio::select! {
            biased;
            _ = interrupted.recv() => break Ok(()),
            _ = terminated.recv() => break Ok(()),
            () = until(end) => break Ok(()),
            () = async { tokio::select! { _ = marked.recv() => {}, () = keys::typed(&mut keys) => {} } } => {
                if let Err(error) = judging.mark(&mut session, &mut names) { break Err(error) }
                notice::marked();
            }
            () = judging.epoch_over() => {
                let refreshed = windows.refresh(&mut session);
                if let Err(error) = refreshed.and_then(|()| judging.end_epoch(&mut session, &mut names)) {
                    break Err(error)
                }
                if let Some(recording) = outputs.recording.as_mut().filter(|recording| recording.is_due()) {
                    let begun = std::time::Instant::now();
                    let report = made(plan, &mut session, &mut names, &judging, &windows);
                    recording.moment(&report, begun, false);
                }
            }
            _ = scrapes.tick(), if metrics.is_some() => {
                if let Err(error) = look(&mut session, &mut judging, &mut names) { break Err(error) }
                let report = summed(plan, &mut session, &names, &judging, &windows);
                metrics.iter().for_each(|metrics| metrics.update(&report));
            }
            _ = pushes.tick(), if outputs.push.is_some() => {
                if let Err(error) = look(&mut session, &mut judging, &mut names) { break Err(error) }
                let report = made(plan, &mut session, &mut names, &judging, &windows);
                if let Some(push) = &outputs.push { push.send(report) }
            }
            () = until(search_due) => {
                if let Err(error) = judging.search(&mut session, &names) { break Err(error) }
            }
            _ = housekeeping.tick() => {
                // A million live blocks take half a second to read: not unless something has gone.
                let looked =
                    if session.has_leavings() { look(&mut session, &mut judging, &mut names) } else { Ok(()) };
                if let Err(error) = looked.and_then(|()| session.look_for_changed()) { break Err(error) }
            }
            _ = reports.tick(), if plan.interval.is_some() => {
                let looked = look(&mut session, &mut judging, &mut names);
                let shown =
                    looked.and_then(|()| show(plan, &mut session, &mut names, (&judging, &windows), &mut outputs));
                if let Err(error) = shown { break Err(error) }
            }
            () = sleep(session.pace()) => {
                let heard = session.listen().and_then(|()| windows.turn(&mut session));
                if let Err(error) = heard.and_then(|()| judging.hear_collections(&mut session, &mut names)) {
                    break Err(error)
                }
                if plan.targets.are_all()
                    && session.must_clear()
                    && let Err(error) = look(&mut session, &mut judging, &mut names)
                {
                    break Err(error)
                }
                notice::print(session.notices.drain(..), plan);
                if !session.is_alive() {
                    break Ok(());
                }
            }
        }
    };
    let traced = match traced {
        Ok(()) => judging.last_search(&mut session, &names).await,
        failed => failed,
    };
    let traced = traced.and(windows.end(&mut session));
    let finished = finish(plan, session, names, (judging, windows), outputs, traced);
    if finished.is_ok() {
        notice::too_short(plan, begun.elapsed());
    }
    // By now its probes are gone, and it goes on by itself.
    if let Some(Started::Running(mut child)) = started {
        let status = child.try_wait();
        let status = status.map_err(|source| Failure::Io { doing: "waiting for the program", source })?;
        notice::left(child.id(), status);
        // Who asks for a verdict by exit code runs tests, and wants to hear of those that failed too.
        if let Some(status) = status.filter(|status| plan.fail_on.is_some() && !status.success()) {
            return finished.and(Err(Failure::ProgramFailed(status)));
        }
    }
    finished
}

/// Brings the books up to now, and closes those of processes that have ended.
fn look(session: &mut Session, judging: &mut Judging, names: &mut Names) -> Result<(), Failure> {
    session.listen()?;
    session.snapshot()?;
    judging.retire(session, names);
    Ok(())
}

/// Whatever ended the trace, what it gathered is shown.
fn finish(
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

fn prepare(plan: &Plan, stream: Option<Output>) -> Result<(Session, Option<Registers>), Failure> {
    let mut kernel = Kernel::load(kernel::Options {
        min_size: plan.min_size,
        max_size: plan.max_size,
        max_live: plan.max_live,
        max_stacks: plan.max_stacks,
        probe_by_probe: plan.probe_by_probe,
    })?;
    if plan.follow {
        kernel.load_all()?;
    }
    let registers = plan.prove.then(|| kernel.load_registers()).transpose()?;
    let only = libraries(plan)?;
    let wanted = Wanted { mappings: plan.mmap, prefixes: plan.prefixes.clone() };
    let heaps = Heaps { native: plan.native, javascript: plan.javascript };
    let probes = Probes::new(wanted, only, heaps, plan.follow, plan.probe_at_entry);
    let recorder = stream
        .map(|stream| Recorder::new(stream.into_file(), kernel::clock::page_size()))
        .transpose()
        .map_err(|source| Failure::Io { doing: "starting the recording", source })?;
    let selection = if let Targets::All(selection) = &plan.targets {
        Some((selection.clone(), plan.keep_files))
    } else {
        None
    };
    let engines = Engines::new(plan.js_interval, plan.source_maps);
    Ok((Session::new(kernel, probes, plan.follow, selection, engines, recorder)?, registers))
}

fn libraries(plan: &Plan) -> Result<Option<HashSet<(u64, u64)>>, Failure> {
    if plan.libraries.is_empty() {
        return Ok(None);
    }
    let inode = |path: &std::path::PathBuf| match OpenBinary::at(path) {
        Ok(file) => Ok((file.device, file.inode)),
        Err(source) => Err(Failure::Library { path: path.display().to_string(), source }),
    };
    plan.libraries.iter().map(inode).collect::<Result<_, _>>().map(Some)
}

/// Every file with code and every probe is a descriptor until the end, for names and probes outlive processes by them: a
/// build that is followed has thousands, and 1024 is the usual limit. Where it cannot be raised it stays as it is.
fn open_as_many_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Pid and name of a process, and what was attached to in which of its files.
type Prepared = (NonZeroU32, String, Vec<(String, Attached)>);

fn add_targets(
    session: &mut Session,
    plan: &Plan,
    demo: Option<&Demo>,
) -> Result<(Option<Started>, Vec<Prepared>), Failure> {
    let demo = demo.and_then(|demo| NonZeroU32::new(demo.pid()));
    let command = match &plan.targets {
        Targets::Command(command) => command,
        Targets::All(_) => {
            open_as_many_as_allowed();
            return Ok((None, Vec::new()));
        }
        Targets::Pids(_) | Targets::Demo { .. } => {
            open_as_many_as_allowed();
            let pids = if let Targets::Pids(pids) = &plan.targets { &pids[..] } else { demo.as_slice() };
            let add = |pid: &NonZeroU32| {
                let attached = session.add_running(*pid)?;
                Ok((*pid, session.comm_of(*pid).to_owned(), attached))
            };
            return Ok((None, pids.iter().map(add).collect::<Result<_, Failure>>()?));
        }
    };
    let startup = loader::libraries(&command[0])?;
    let waiting = launch::launch(command)?;
    // Not before: the program has the limit that it would have without leaktrace.
    open_as_many_as_allowed();
    let files = std::iter::once(&startup.program).chain(&startup.libraries);
    let files = files.filter_map(|path| OpenBinary::at(path).ok());
    let shown: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let attached = session.add_waiting(waiting.pid, &shown.join(" "), files)?;
    let prepared = (waiting.pid, shown[0].clone().into_owned(), attached);
    Ok((Some(Started::Waiting(waiting)), vec![prepared]))
}

/// The report of what is known now.
fn made(
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
fn summed(plan: &Plan, session: &mut Session, names: &Names, judging: &Judging, windows: &Windows) -> Report {
    booked(plan, session, names, windows, false).with_verdicts(&judging.judges, &session.ledger)
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

fn show(
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
fn style(output: &cli::Output) -> Text {
    let colour = match output.colour {
        cli::Colour::Plain => report::Colour::Never,
        cli::Colour::Ansi => report::Colour::Always,
    };
    let width = terminal_size::terminal_size().map_or(120, |(width, _)| usize::from(width.0));
    Text { top: output.top, verbose: output.verbose, colour, width }
}

fn print(output: &cli::Output, report: &Report) -> Result<(), Failure> {
    let text = style(output);
    to_stdout(|out| text.write(report, out))
        .map_err(|source| Failure::Io { doing: "printing the report", source })
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn every(period: Duration, begun: Instant) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(begun + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
