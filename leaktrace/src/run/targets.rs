//! What is traced is found, started where leaktrace starts it, and probed.

use std::{collections::HashSet, num::NonZeroU32, process::Child};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Failure,
    demo::Demo,
    engines::Engines,
    launch::{self, Waiting},
    output::Output,
    probes::{Attached, Heaps, Probes},
    session::Session,
};
use crate::{
    binary::loader,
    cli::{Plan, Targets},
    kernel::{self, Kernel, Registers},
    process::OpenBinary,
    record::Recorder,
    target::Wanted,
};

/// A program started by leaktrace.
pub(super) enum Started {
    Waiting(Waiting),
    Running(Child),
}

pub(super) fn prepare(plan: &Plan, stream: Option<Output>) -> Result<(Session, Option<Registers>), Failure> {
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

/// Every file with code and every probe is a descriptor, and names and probes outlive processes by them: a
/// build that is followed has thousands, and 1024 is the usual limit. Where it cannot be raised it stays as it is.
fn open_as_many_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Pid and name of a process, and what was attached to in which of its files.
type Prepared = (NonZeroU32, String, Vec<(String, Attached)>);

pub(super) fn add_targets(
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
