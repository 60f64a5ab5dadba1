//! Looks at a heap from outside: nothing is attached.

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{
    Failure,
    output::{Output, to_stdout},
};
use crate::{
    cli::CensusPlan,
    heap_reader::{HeapReader, Refused},
    kernel::clock::page_size,
    process::{Identity, ProcessError},
    report::census::{Course, Seen, Subject},
};

/// Looks as planned and prints what is in use.
///
/// # Errors
/// The heap cannot be read, or a report cannot be written.
pub fn census(plan: &CensusPlan) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { doing: "starting the event loop", source })?;
    runtime.block_on(looks(plan))
}

async fn looks(plan: &CensusPlan) -> Result<(), Failure> {
    let pid = plan.pid.get();
    let mut json = plan.json.as_deref().map(Output::open).transpose()?;
    let caught = |kind| signal(kind).map_err(|source| Failure::Io { doing: "catching signals", source });
    let (mut interrupted, mut terminated) =
        (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let identity = Identity::of(pid)?;
    let mut reader = HeapReader::open(pid, page_size())?;
    let begun = Instant::now();
    let (first, mut next) = (look(&mut reader, begun)?, begun + plan.every);
    let version = reader.version().map(|version| version.to_string());
    let mut course = Course::new(Subject { pid, comm: identity.comm.clone(), version }, first);
    let mut taken = 1;
    loop {
        to_stdout(|out| course.write_text(plan.top, out))
            .map_err(|source| Failure::Io { doing: "printing the census", source })?;
        if let Some(json) = &mut json {
            json.write(|out| course.write_json(out))?;
        }
        if plan.times.is_some_and(|times| taken == times.get()) {
            return Ok(());
        }
        tokio::select! {
            biased;
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
            () = sleep_until(next) => {}
        }
        next = Instant::now() + plan.every;
        if !identity.still_the_same() {
            crate::say!("process {pid} has ended");
            return Ok(());
        }
        match look(&mut reader, begun) {
            Ok(seen) => course.add(seen),
            Err(Refused::Process(ProcessError::NoSuchProcess { .. })) => {
                crate::say!("process {pid} has ended, or runs another program");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        taken += 1;
    }
}

fn look(reader: &mut HeapReader, begun: Instant) -> Result<Seen, Refused> {
    let at = Instant::now();
    let (census, look) = reader.census()?;
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(Seen { at_ns: ns(at - begun), took_ns: ns(at.elapsed()), census, look })
}
