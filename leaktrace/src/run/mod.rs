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
mod reports;
mod session;
mod share;
mod spaces;
mod targets;
mod unwinding;
mod verifying;
mod watch;
mod watching;
mod windows;

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, sleep, sleep_until},
};

pub use census::census;
use demo::Demo;
pub use failure::Failure;
use judging::Judging;
use metrics::Metrics;
use output::Output;
use outputs::Outputs;
pub use recorded::{diff, report};
use reports::{finish, made, show, summed};
use session::Session;
use targets::{Started, add_targets, prepare};
use watching::{Watched, until_it_grows};
use windows::Windows;

use crate::{
    cli::{Plan, Targets},
    symbolize::Names,
};

/// How often tables are cleared of programs that are gone, when any went, and processes are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

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
    let mut windows = Windows::new(plan, &mut session);
    let (mut started, attached) = add_targets(&mut session, plan, demo.as_ref())?;
    let found = session.look_for_processes()?;
    windows.begin(&mut session)?;
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
        let is_urgent = windows.is_urgent();
        tokio::select! {
            biased;
            _ = interrupted.recv() => break Ok(()),
            _ = terminated.recv() => break Ok(()),
            () = until(end) => break Ok(()),
            () = async { tokio::select! { _ = marked.recv() => {}, () = keys::typed(&mut keys) => {} } } => {
                if let Err(error) = judging.mark(&mut session, &mut names) { break Err(error) }
                notice::marked();
            }
            () = judging.epoch_over(), if !is_urgent => {
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
            _ = scrapes.tick(), if metrics.is_some() && !is_urgent => {
                if let Err(error) = look(&mut session, &mut judging, &mut names) { break Err(error) }
                let report = summed(plan, &mut session, &names, &judging, &windows);
                metrics.iter().for_each(|metrics| metrics.update(&report));
            }
            _ = pushes.tick(), if outputs.push.is_some() && !is_urgent => {
                if let Err(error) = look(&mut session, &mut judging, &mut names) { break Err(error) }
                let report = made(plan, &mut session, &mut names, &judging, &windows);
                if let Some(push) = &outputs.push { push.send(report) }
            }
            () = until(search_due) => {
                if let Err(error) = judging.search(&mut session, &names) { break Err(error) }
            }
            _ = housekeeping.tick(), if !is_urgent => {
                // To read them takes the longer the more lives: not unless something has gone.
                let looked =
                    if session.has_leavings() { look(&mut session, &mut judging, &mut names) } else { Ok(()) };
                if let Err(error) = looked.and_then(|()| session.look_for_changed()) { break Err(error) }
            }
            _ = reports.tick(), if plan.interval.is_some() && !is_urgent => {
                let looked = look(&mut session, &mut judging, &mut names);
                let shown =
                    looked.and_then(|()| show(plan, &mut session, &mut names, (&judging, &windows), &mut outputs));
                if let Err(error) = shown { break Err(error) }
            }
            () = sleep(session.pace()) => {
                // What asks processes takes long where thousands are traced, and longer while they wait for CPUs.
                let can_wait = is_urgent && plan.targets.are_all();
                let heard = if can_wait {
                    session.drain();
                    Ok(())
                } else {
                    session.listen()
                };
                let turned = heard.and_then(|()| windows.turn(&mut session));
                // Nothing is judged before the stacks are known that it is about.
                let is_urgent = can_wait || windows.is_urgent();
                let judged = turned.and_then(|()| {
                    if is_urgent { Ok(()) } else { judging.hear_collections(&mut session, &mut names) }
                });
                if let Err(error) = judged { break Err(error) }
                if plan.targets.are_all()
                    && !is_urgent
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
    session.symbols.collect(names);
    Ok(())
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
