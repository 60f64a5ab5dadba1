//! One program: our stacks against those that it finds itself.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use leaktrace_common::{
    event::StackRecord,
    process::ProcessId,
    stack::{MAX_FRAMES, StopReason},
};
use tests_unwind::{
    kernel::Kernel,
    tracee::{State, Tracee},
};
use zerocopy::FromBytes;

use crate::cases::Case;

/// Given-up tables rest for 10 s, so that the arena has its full size by now.
pub(crate) const SETTLED: Duration = Duration::from_secs(20);

/// Records read without a pause, a tenth of the ring: then the process waits, so that none is lost.
const FALLEN_BEHIND: u32 = 3000;

/// Differences of a case that are printed, unless LEAKTRACE_SHOW says how many.
const SHOWN: usize = 3;

const STARTS: [&str; 3] = ["return", "entry", "site"];

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) stacks: u64,
    pub(crate) frames: u64,
    pub(crate) equal: u64,
    /// Equal as far as the process's own went, and from there on to the end of the thread.
    pub(crate) longer: u64,
    /// Right until the stack could not be read, which is said of them.
    pub(crate) cut: u64,
    /// The outermost frames of stacks that are equal: where threads begin.
    pub(crate) roots: HashSet<u64>,
    /// Those of stacks that are longer than the truth, and of how many.
    pub(crate) longer_roots: HashMap<u64, u64>,
    pub(crate) deepest: usize,
    pub(crate) stops: BTreeMap<String, u64>,
    pub(crate) shown: usize,
    /// How often it stopped itself: once a program, and after every dlopen.
    pub(crate) stopped: u64,
    pub(crate) status: i32,
    /// Bytes of the arena when it had been running for [`SETTLED`].
    pub(crate) settled: Option<usize>,
}

pub(crate) fn run(kernel: &mut Kernel, case: &Case, preload: &Path, id: ProcessId) -> Result<Outcome> {
    let tracee = Tracee::start(
        Command::new(&case.command[0])
            .args(&case.command[1..])
            .env("LD_PRELOAD", preload)
            .env("LEAKTRACE_TRUTH", "1")
            .env("LEAKTRACE_EVERY", case.every.to_string())
            .stdout(Stdio::null()),
        id,
    )?;
    let started = Instant::now();
    let show = std::env::var("LEAKTRACE_SHOW").ok().and_then(|text| text.parse().ok()).unwrap_or(SHOWN);
    let mut outcome = Outcome::default();
    // Ours, waiting for its truth.
    let mut waiting: HashMap<(u64, u32), StackRecord> = HashMap::new();
    let mut ended = None;
    loop {
        let mut got = 0;
        while let Some(item) = kernel.events.next() {
            got += 1;
            if got == FALLEN_BEHIND && ended.is_none() {
                // It is let go on when the ring is empty.
                tracee.stop();
            }
            let Ok(record) = StackRecord::read_from_bytes(&item) else {
                bail!("record of {} bytes", item.len())
            };
            // Left over from a case before that was cut short.
            if record.process != id.0 {
                continue;
            }
            let key = (record.id, record.hook);
            if record.stop != 0 {
                waiting.insert(key, record);
            } else if let Some(ours) = waiting.remove(&key) {
                judge(case, &mut outcome, &ours, &record, tracee.child.id(), show);
            }
        }
        if got > 0 {
            continue;
        }
        if let Some(status) = ended {
            outcome.status = status;
            if status != 0 {
                println!("{:12} ended with status {status:#x}", case.name);
            }
            break;
        }
        match tracee.poll()? {
            State::Running => thread::sleep(Duration::from_micros(200)),
            State::Stopped => {
                outcome.stopped += 1;
                tracee.update_and_continue(kernel).context(case.name)?;
                if outcome.settled.is_none() && started.elapsed() > SETTLED {
                    outcome.settled = Some(kernel.tables.memory().0);
                }
            }
            State::Ended { status } => ended = Some(status),
        }
    }
    kernel.tables.remove(id, tracee.now())?;
    // Where code has no tables the truth ends, as the process's own unwinder does. Ours goes on, and has come through
    // right if it ends where the process's threads are known to begin.
    let lost = outcome.longer_roots.iter().filter(|(root, _)| !outcome.roots.contains(root));
    let lost: u64 = lost.map(|(_, stacks)| stacks).sum();
    if lost > 0 {
        println!("{:12} {lost} stacks go beyond the truth and end where no thread begins", case.name);
    }
    outcome.longer -= lost;
    Ok(outcome)
}

fn judge(case: &Case, outcome: &mut Outcome, ours: &StackRecord, truth: &StackRecord, pid: u32, show: usize) {
    // The first frame is within the preloaded malloc, at another place in each.
    let [ours_frames, true_frames] = [ours, truth]
        .map(|record| record.frames[..(record.depth as usize).min(MAX_FRAMES)].get(1..).unwrap_or(&[]));
    // The truth's record says its full length in place of the tgid.
    let true_depth = truth.tgid as usize;
    let is_cut = true_depth > MAX_FRAMES && ours.depth as usize == MAX_FRAMES;
    let common = ours_frames.iter().zip(true_frames).take_while(|(a, b)| a == b).count();
    let stop = StopReason::try_from(ours.stop);
    outcome.stacks += 1;
    outcome.frames += true_frames.len() as u64;
    outcome.deepest = outcome.deepest.max(true_depth);
    *outcome
        .stops
        .entry(stop.map_or_else(|number| number.to_string(), |stop| format!("{stop:?}")))
        .or_default() += 1;
    let is_equal = common == true_frames.len() && common == ours_frames.len() && {
        // Equal frames with a wrong reason are wrong too.
        stop == Ok(if is_cut { StopReason::TooDeep } else { StopReason::End }) || true_depth == MAX_FRAMES
    };
    let is_longer = case.ours_may_be_longer && common == true_frames.len() && common > 0;
    // Code that was made since the last stop is guessed through.
    let is_through = matches!(stop, Ok(StopReason::End | StopReason::Guessed));
    let is_unreadable = stop == Ok(StopReason::Unreadable) && common == ours_frames.len();
    if is_equal {
        outcome.equal += 1;
        outcome.roots.extend(ours_frames.last().filter(|_| !is_cut));
        return;
    }
    if is_unreadable {
        outcome.cut += 1;
    }
    if let Some(root) = ours_frames.last().filter(|_| is_longer && is_through) {
        outcome.longer += 1;
        *outcome.longer_roots.entry(*root).or_default() += 1;
    } else if outcome.shown < show {
        outcome.shown += 1;
        println!(
            "-- {} {}: ours {} frames ({stop:?}), truth {true_depth}, equal {common}",
            case.name,
            STARTS.get(ours.hook as usize).unwrap_or(&"?"),
            ours.depth
        );
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        for index in common.saturating_sub(1)..(common + 3).min(ours_frames.len().max(true_frames.len())) {
            let [ours, truth] = [ours_frames, true_frames].map(|frames| frames.get(index).copied());
            println!("   {index}: {ours:x?} {truth:x?} {}", where_is(&maps, ours.or(truth)).unwrap_or("?"));
        }
    }
}

fn where_is(maps: &str, address: Option<u64>) -> Option<&str> {
    let address = address?;
    maps.lines().find(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        range.is_some_and(|(start, end)| hex(start) <= address && address < hex(end))
    })
}
