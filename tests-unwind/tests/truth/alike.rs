//! Cases whose truth is another run of ours: what they change must not change a stack.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use leaktrace_common::{counter::Counter, event::StackRecord, process::ProcessId, stack::MAX_FRAMES};
use tests_unwind::{
    kernel::Kernel,
    programs,
    tracee::{State, Tracee},
};
use zerocopy::FromBytes;

use crate::cases::said;

/// Stacks by their number and where they started.
type Stacks = HashMap<(u64, u32), Vec<u64>>;

/// The same program with return probes pending in its recursion has to have the same stacks. Its own unwinder is
/// no judge of that: it takes the kernel's trampoline for a frame.
pub(crate) fn pending(kernel: &mut Kernel, preload: &Path) -> Result<bool> {
    let frames = programs::build("frames.c", &[])?;
    let without = stacks(kernel, &frames, preload, ProcessId(1000))?;
    for symbol in ["plain", "array", "large", "realigned", "registers", "sorted"] {
        kernel.attach("pending", symbol, &frames)?;
    }
    let before = kernel.counter(Counter::Nested)?;
    let with = stacks(kernel, &frames, preload, ProcessId(1001))?;
    let hits = kernel.counter(Counter::Nested)? - before;
    kernel.detach("pending")?;
    let equal = without.iter().filter(|(key, stack)| with.get(key) == Some(*stack)).count();
    // The kernel lets a thread have 64 return probes pending, and our own at the end is one too many then.
    const MOST_PENDING: usize = 64;
    let is_refused = |(key, stack): &(&(u64, u32), &Vec<u64>)| {
        key.1 == 0 && stack.len() > MOST_PENDING && !with.contains_key(*key)
    };
    let refused = without.iter().filter(is_refused).count();
    println!(
        "pending      {equal} of {} stacks the same with {hits} return probes in their recursion, {refused} not taken",
        without.len()
    );
    Ok(equal + refused == without.len() && equal == with.len() && hits > 0)
}

/// A program that has its call frame information in `.debug_frame` alone has the same stacks as with `.eh_frame`. Its own
/// unwinder reads only that, and is no judge.
pub(crate) fn debug_frame(kernel: &mut Kernel, preload: &Path) -> Result<bool> {
    let with = programs::build("frames.c", &[])?;
    let flags = ["-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let without = programs::build_as("frames.c", "frames-debug", &flags)?;
    let sections = said(&["readelf", "-S", "--wide", &without.display().to_string()])?;
    if !sections.contains(".debug_frame") {
        bail!("the compiler made no .debug_frame");
    }
    let [with, without] =
        [(with, 1002), (without, 1003)].map(|(program, id)| stacks(kernel, &program, preload, ProcessId(id)));
    let (with, without) = (with?, without?);
    // The program's own code is the same to the byte, at the same addresses; behind it nothing need be.
    let equal = with.iter().filter(|(key, stack)| without.get(key) == Some(*stack)).count();
    println!("debug_frame  {equal} of {} stacks the same with .debug_frame alone", with.len());
    Ok(equal == with.len() && equal == without.len() && equal > 0)
}

/// Ours alone.
fn stacks(kernel: &mut Kernel, program: &Path, preload: &Path, id: ProcessId) -> Result<Stacks> {
    let mut command = Command::new(program);
    command.arg("2000").env("LD_PRELOAD", preload).env("LEAKTRACE_TRUTH", "1").stdout(Stdio::null());
    let tracee = Tracee::start(&mut command, id)?;
    let mut stacks = Stacks::new();
    let mut ended = false;
    loop {
        let mut got = 0;
        while let Some(item) = kernel.events.next() {
            got += 1;
            let Ok(record) = StackRecord::read_from_bytes(&item) else {
                bail!("record of {} bytes", item.len())
            };
            if record.process == id.0 && record.stop != 0 {
                let frames = record.frames[..(record.depth as usize).min(MAX_FRAMES)].to_vec();
                stacks.insert((record.id, record.hook), frames);
            }
        }
        if got == 0 && ended {
            break;
        }
        match tracee.poll() {
            _ if ended => {}
            Ok(State::Stopped) => tracee.update_and_continue(kernel)?,
            Ok(State::Ended { .. }) => ended = true,
            Ok(State::Running) => thread::sleep(Duration::from_micros(200)),
            Err(error) => return Err(error),
        }
    }
    kernel.tables.remove(id, tracee.now())?;
    Ok(stacks)
}
