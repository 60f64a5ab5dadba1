//! What tracing takes of real programs at work, and whether it finds a small leak in them.
//!
//! Each round is one process under steady load, measured in turns: bare, by the default budget, bare, each call followed,
//! bare. So a way lies between two bare turns of the same process, and what drifts is in both. Tools that have to start the
//! program have processes of their own. A library that is preloaded into all of them leaks 64 bytes every 20 ms.

mod client;
pub(super) mod cpu;
mod table;
mod workload;

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use tests_kernel::{Agent, private_libs::PrivateLibs};

use self::{
    cpu::{cpu_of, family},
    table::{Measured, Outcome},
    workload::{Running, Workload},
};
use super::{Machine, peers};
use crate::{
    checkout::Checkout,
    command::{is_installed, plain, run as run_command},
};

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Only programs with these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A way to look at the memory of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bare,
    /// Attached to the running process.
    Leaktrace(&'static str, &'static [&'static str]),
}

const TURNS: [Way; 5] = [
    Way::Bare,
    Way::Leaktrace("leaktrace (budget 5 %)", &["--budget", "5%"]),
    Way::Bare,
    // The harness says --exact where no budget is given.
    Way::Leaktrace("leaktrace --exact", &[]),
    Way::Bare,
];

/// One that has to start the program.
#[derive(Debug, PartialEq, Eq)]
struct Tool {
    label: &'static str,
    /// What comes before the program's own command.
    command: &'static [&'static str],
    /// A library that is preloaded too.
    preload: Option<&'static str>,
    variables: &'static [(&'static str, &'static str)],
}

const TOOLS: [Tool; 4] = [
    Tool { label: "heaptrack --raw", command: peers::HEAPTRACK, preload: None, variables: &[] },
    Tool { label: "valgrind --tool=dhat", command: peers::DHAT, preload: None, variables: &[] },
    // Another allocator, so that its profiler alone is in neither of these two.
    Tool { label: "jemalloc", command: &[], preload: Some("libjemalloc.so.2"), variables: &[] },
    Tool {
        label: "jemalloc, prof:true",
        command: &[],
        preload: Some("libjemalloc.so.2"),
        variables: &[("MALLOC_CONF", "prof:true")],
    },
];

/// What a turn took.
#[derive(Clone, Copy, Debug)]
struct Turn {
    units: f64,
    /// CPU seconds of the program.
    program: f64,
    /// The tool's own beside it.
    tool: f64,
    /// Of a server's answers, in seconds.
    p99: Option<f64>,
}

pub(super) fn run(
    checkout: &Checkout,
    bin: &Path,
    args: &Args,
    seconds: u32,
    rounds: u32,
) -> Result<Outcome> {
    let folder = checkout.target().join("bench");
    let leak = leak_beside(checkout, &folder)?;
    let (mut measured, mut left_out) = (Measured::default(), Vec::new());
    for workload in workload::all(checkout, &folder)? {
        if !args.only.is_empty() && !args.only.iter().any(|name| *name == workload.name) {
            continue;
        }
        if let Some(lacking) = workload.lacking() {
            left_out.push(format!("{}: there is no {lacking}", workload.name));
            continue;
        }
        for round in 1..=rounds {
            let bench = Bench { bin, leak: &leak, seconds };
            bench
                .round(&workload, &mut measured)
                .with_context(|| format!("round {round} of {}", workload.name))?;
            eprintln!("{}, round {round} of {rounds}: {}", workload.name, measured.last(workload.name));
        }
    }
    Ok(Outcome { rounds, seconds, left_out, machine: Machine::this()?, rows: measured.rows() })
}

fn leak_beside(checkout: &Checkout, folder: &Path) -> Result<std::path::PathBuf> {
    std::fs::create_dir_all(folder)?;
    let library = folder.join("leak_beside.so");
    let mut gcc = plain("gcc", checkout);
    gcc.args(["-shared", "-fPIC", "-O1", "-g", "-o"])
        .arg(&library)
        .arg(checkout.path("testprogs/leak_beside.c"));
    run_command(&mut gcc)?;
    Ok(library)
}

struct Bench<'a> {
    bin: &'a Path,
    leak: &'a Path,
    seconds: u32,
}

impl Bench<'_> {
    fn round(&self, workload: &Workload, measured: &mut Measured) -> Result<()> {
        let libs = PrivateLibs::copy(&[])?;
        let mut running = workload.start(None, self.leak, &libs)?;
        // Caches, and what the program allocates once.
        running.work(Duration::from_secs(3))?;
        let mut turns = Vec::new();
        for way in TURNS {
            let turn = match way {
                Way::Leaktrace(label, flags) => {
                    self.traced(&mut running, label, flags, workload.name, measured)?
                }
                _ => self.turn(&mut running, None)?,
            };
            turns.push(turn);
        }
        drop(running);
        measured.add_turns(workload, &TURNS, &turns);
        let bare = turns[0];
        for tool in &TOOLS {
            if !tool.command.first().is_none_or(|name| is_installed(name)) {
                continue;
            }
            let Ok(libs) = PrivateLibs::copy(tool.preload.as_slice()) else { continue };
            let mut running = workload.start(Some(tool), self.leak, &libs)?;
            running.work(Duration::from_secs(3))?;
            let turn = self.turn(&mut running, None)?;
            measured.add(workload, tool.label, turn, &[bare]);
        }
        Ok(())
    }

    fn turn(&self, running: &mut Running, agent: Option<u32>) -> Result<Turn> {
        let others = |running: &Running| -> Result<f64> {
            let tool = family(running.child()).into_iter().filter(|pid| *pid != running.pid).chain(agent);
            Ok(tool.filter_map(|pid| cpu_of(pid).ok()).sum())
        };
        let before = (cpu_of(running.pid)?, others(running)?);
        let (units, p99) = running.work(Duration::from_secs(u64::from(self.seconds)))?;
        let after = (cpu_of(running.pid)?, others(running)?);
        Ok(Turn { units, program: after.0 - before.0, tool: after.1 - before.1, p99 })
    }

    fn traced(
        &self,
        running: &mut Running,
        label: &'static str,
        flags: &[&str],
        name: &'static str,
        measured: &mut Measured,
    ) -> Result<Turn> {
        let epoch = format!("{}ms", self.seconds * 1000 / 96);
        let flags = [flags, &["--epoch", &epoch]].concat();
        // It attaches while the program is at rest, as everywhere here; that takes a second or two.
        let agent = Agent::attach_with(self.bin, &[running.pid], &flags)?;
        let turn = self.turn(running, Some(agent.pid()))?;
        let report = agent.stop_within(Duration::from_secs(300))?;
        let named = report.verdicts.iter().find(|verdict| verdict.has("leak_beside"));
        let found = match named {
            Some(verdict) => verdict.verdict.clone(),
            None if report.at("leak_beside").live_blocks > 0 => "listed".to_owned(),
            None => "no".to_owned(),
        };
        measured.found(name, label, found, report.coverage.lost);
        // Its probes are gone when it has ended; the program goes on for a moment before it is measured again.
        thread::sleep(Duration::from_millis(200));
        Ok(turn)
    }
}
