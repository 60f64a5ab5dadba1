//! `--watch`: a process is looked at from outside, and left alone until its heap grows.

use std::{num::NonZeroU32, time::Duration};

use tokio::{
    signal::unix::Signal,
    time::{Instant, sleep_until},
};

use super::Failure;
use crate::{
    heap_reader::{HeapReader, Look, Looks, Refused},
    kernel::{self, clock::page_size},
    process::{Identity, ProcessError},
    report::{self, Watch},
};

/// A heap that changes while it is read may not fit once; one that is refused this often in a row is not readable.
const TRIES: u32 = 3;

/// What a watch came to.
pub(super) enum Watched {
    /// To be traced now, and why.
    Grows(Watch),
    /// Ctrl-C, or the process ended, and nothing had grown.
    Ended,
}

/// Looks each time `every` passes until something grows by `least_rate` bytes a minute.
///
/// # Errors
/// The process cannot be read, its heap is not one that is known, or it could not be traced later on.
pub(super) async fn until_it_grows(
    pid: NonZeroU32,
    every: Duration,
    least_rate: u64,
    [interrupted, terminated]: [&mut Signal; 2],
) -> Result<Watched, Failure> {
    let pid = pid.get();
    // What would fail in some hours, fails now.
    kernel::features::check().map_err(kernel::LoadError::from)?;
    let identity = Identity::of(pid)?;
    let mut reader = HeapReader::open(pid, page_size())?;
    let mut looks = Looks::new(least_rate);
    let (mut refused, mut taken, mut left_out) = (0, 0, 0);
    let begun = Instant::now();
    crate::say!(
        "watching {} (pid {pid}) from outside, every {}; nothing is attached until its heap grows",
        identity.comm,
        humantime::format_duration(every)
    );
    loop {
        let at = Instant::now();
        match reader.census() {
            Ok((census, look)) => {
                (refused, taken) = (0, taken + 1);
                let at_ns = u64::try_from((at - begun).as_nanos()).unwrap_or(u64::MAX);
                left_out += u64::from(!looks.add(at_ns, unread(&look), census));
                if let Some(growth) = looks.growth() {
                    return Ok(Watched::Grows(Watch::new(taken, left_out, growth)));
                }
            }
            // It may have ended, or run another program: what was seen of the old heap says nothing of the new one.
            Err(error) => {
                refused += 1;
                if refused == TRIES && identity.still_the_same() {
                    return Err(error.into());
                }
                looks = Looks::new(least_rate);
            }
        }
        tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            // A heap that takes long to read is read half of the time at most.
            () = sleep_until((at + every).max(Instant::now() + at.elapsed())) => {}
        }
        if !identity.still_the_same() {
            crate::say!("process {pid} has ended");
            break;
        }
        if refused > 0 {
            reader = match HeapReader::open(pid, page_size()) {
                Ok(reader) => reader,
                // Its next look fails as well, and the tries are counted.
                Err(Refused::Process(ProcessError::NoSuchProcess { .. })) => reader,
                Err(error) => return Err(error.into()),
            };
        }
    }
    let left_out = report::looks_left_out(left_out);
    crate::say!(
        "nothing grew in {taken} looks{left_out} at process {pid}, so nothing was attached and there is no report"
    );
    Ok(Watched::Ended)
}

/// The part of the heap that a look did not read.
fn unread(look: &Look) -> f64 {
    let all = look.walked + look.unwalked;
    if all == 0 { 0.0 } else { look.unwalked as f64 / all as f64 }
}
