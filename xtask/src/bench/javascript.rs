//! What tracing a JavaScript heap costs a node program that allocates about 1 GB/s, beside V8's own two samplers.
//!
//! A round is one process that does the same work seven times: bare, leaktrace, leaktrace, bare, the inspector's
//! sampling, sampling, bare. Each way lies between two bare ones of the same process, so that what differs from process to
//! process, and what drifts, is in both. `--heap-prof` can be had from the start alone: that is a second process, and its
//! ratio has both processes' luck in it. Times are CPU time of all threads of the process.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tests_kernel::{Agent, Program, node::node};

use super::{
    Machine,
    programs::cpu::cpu_of,
    spread::{Interval, Spread},
};
use crate::command::answer;

const PROGRAM: &str = "bench_javascript.js";
/// What each of the program's objects takes with all that hangs on it.
const BYTES_EACH: u32 = 193;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Major version of the node that .ci/run fetched
    #[arg(long, default_value_t = 22)]
    node: u32,
    /// Gigabytes of objects per measurement
    #[arg(long, default_value_t = 4.0)]
    gigabytes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Bare,
    Leaktrace,
    Inspector,
    HeapProf,
}

impl Way {
    const ALL: [Self; 4] = [Self::Bare, Self::Leaktrace, Self::Inspector, Self::HeapProf];
    /// Within one process.
    const TURNS: [Self; 7] = [
        Self::Bare,
        Self::Leaktrace,
        Self::Leaktrace,
        Self::Bare,
        Self::Inspector,
        Self::Inspector,
        Self::Bare,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Leaktrace => "leaktrace --only javascript",
            Self::Inspector => "inspector: HeapProfiler.startSampling",
            Self::HeapProf => "node --heap-prof",
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    label: &'static str,
    seconds_per_gb: Spread,
    /// Of each round against its bare runs; none of the bare ones themselves.
    ratio_to_bare: Option<Interval>,
    /// The tool's own, beside the process.
    agent_seconds_per_gb: Option<Spread>,
}

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    rounds: u32,
    node: String,
    gigabytes: f64,
    gb_per_cpu_second: f64,
    /// Until leaktrace has attached.
    agent_seconds_to_attach: Spread,
    /// Of all bytes that the program allocated, those that leaktrace's samples stand for.
    bytes_seen: Spread,
    machine: Machine,
    rows: Vec<Row>,
}

/// Everything of all rounds, a number a round.
#[derive(Default)]
struct Measured {
    /// Seconds per gigabyte by way, in the order of [`Way::ALL`].
    seconds: [Vec<f64>; 4],
    ratios: [Vec<f64>; 4],
    agent: Vec<f64>,
    attach: Vec<f64>,
    seen: Vec<f64>,
}

pub(super) fn run(bin: &Path, args: &Args, rounds: u32) -> Result<Outcome> {
    let node = node(args.node).with_context(|| {
        format!("no node {} among what `.ci/run` fetches: --node names another major", args.node)
    })?;
    let count = (args.gigabytes * 1e9 / f64::from(BYTES_EACH)).round().to_string();
    let mut all = Measured::default();
    for round in 1..=rounds {
        all.round(bin, &node, &count).with_context(|| format!("round {round}"))?;
        let ratio = |way: Way| all.ratios[way as usize].last().copied().unwrap_or(f64::NAN);
        eprintln!(
            "round {round}: leaktrace {:.4}, inspector {:.4}, --heap-prof {:.4} times bare",
            ratio(Way::Leaktrace),
            ratio(Way::Inspector),
            ratio(Way::HeapProf)
        );
    }
    let bare = Spread::of(all.seconds[Way::Bare as usize].clone());
    let rows = Way::ALL.map(|way| Row {
        way,
        label: way.label(),
        seconds_per_gb: Spread::of(all.seconds[way as usize].clone()),
        ratio_to_bare: Interval::of(all.ratios[way as usize].clone()),
        agent_seconds_per_gb: (way == Way::Leaktrace).then(|| Spread::of(all.agent.clone())),
    });
    Ok(Outcome {
        rounds,
        node: version(&node)?,
        gigabytes: args.gigabytes,
        gb_per_cpu_second: 1.0 / bare.median,
        agent_seconds_to_attach: Spread::of(all.attach),
        bytes_seen: Spread::of(all.seen),
        machine: Machine::this()?,
        rows: rows.into(),
    })
}

impl Measured {
    fn round(&mut self, bin: &Path, node: &Path, count: &str) -> Result<()> {
        let mut turns: Vec<(Way, f64)> = Vec::new();
        let mut program = Program::node_with(node, &[], PROGRAM, &[count])?;
        // Compiled code and the heap's size settle in the first.
        work(&mut program)?;
        for way in Way::TURNS {
            let seconds = match way {
                Way::Leaktrace => self.traced(bin, &mut program)?,
                Way::Inspector => {
                    program.tell("sampling\n")?;
                    let seconds = work(&mut program)?.seconds_per_gb();
                    program.tell("plain\n")?;
                    seconds
                }
                Way::Bare | Way::HeapProf => work(&mut program)?.seconds_per_gb(),
            };
            turns.push((way, seconds));
        }
        program.tell("end\n")?;

        let profiles = tempfile::tempdir()?;
        let folder = format!("--heap-prof-dir={}", profiles.path().display());
        let mut program = Program::node_with(node, &["--heap-prof", &folder], PROGRAM, &[count])?;
        work(&mut program)?;
        for _ in Way::TURNS {
            turns.push((Way::HeapProf, work(&mut program)?.seconds_per_gb()));
        }
        program.tell("end\n")?;
        program.ended()?;

        let mean = |own: &[(Way, f64)], way: Way| {
            let own = own.iter().filter(|(known, _)| *known == way).map(|(_, seconds)| *seconds);
            let (sum, count) = own.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
            sum / count
        };
        for way in Way::ALL {
            let seconds = mean(&turns, way);
            self.seconds[way as usize].push(seconds);
            // Those that this way lies between.
            let between = match way {
                Way::Leaktrace => &turns[..4],
                Way::Inspector => &turns[3..7],
                Way::Bare | Way::HeapProf => &turns,
            };
            if way != Way::Bare {
                self.ratios[way as usize].push(seconds / mean(between, Way::Bare));
            }
        }
        Ok(())
    }

    fn traced(&mut self, bin: &Path, program: &mut Program) -> Result<f64> {
        let agent = Agent::attach_with(bin, &[program.pid()], &["--only", "javascript"])?;
        let before = cpu_of(agent.pid())?;
        let done = work(program)?;
        let after = cpu_of(agent.pid())?;
        let report = agent.stop()?;
        let seen: u64 = report.of_javascript().map(|stack| stack.sums.alloc_bytes).sum();
        let seen = seen as f64 / done.bytes;
        // A fast way that misses what it should see is not fast.
        if (seen - 1.0).abs() > 0.2 {
            bail!("samples stand for {seen:.2} of the bytes that were allocated: the time says nothing");
        }
        self.attach.push(before);
        self.agent.push((after - before) / (done.bytes / 1e9));
        self.seen.push(seen);
        Ok(done.seconds_per_gb())
    }
}

struct Done {
    cpu: f64,
    bytes: f64,
}

impl Done {
    fn seconds_per_gb(&self) -> f64 {
        self.cpu / (self.bytes / 1e9)
    }
}

fn work(program: &mut Program) -> Result<Done> {
    program.work()?;
    let told = program.truth.other.last().context("the program told nothing")?;
    let number = |name: &str| told.get(name).and_then(serde_json::Value::as_f64).context("no time was told");
    Ok(Done { cpu: number("cpu")?, bytes: number("bytes")? })
}

fn version(node: &Path) -> Result<String> {
    let said = answer(Command::new(node).arg("--version")).context("node does not say its version")?;
    Ok(said.trim_start_matches('v').to_owned())
}

impl Outcome {
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from(
            "| way | CPU seconds per GB | times bare [95 %] | the tool's own CPU seconds per GB |\n|---|---|---|---|\n",
        );
        for row in &self.rows {
            let ratio = row.ratio_to_bare.map_or_else(|| "1".to_owned(), |ratio| ratio.show(4));
            let agent = row.agent_seconds_per_gb.map_or_else(|| "-".to_owned(), |own| own.show(3));
            let _ = writeln!(text, "| {} | {} | {ratio} | {agent} |", row.label, row.seconds_per_gb.show(3));
        }
        let _ = writeln!(
            text,
            "\nNode {}, {:.2} GB of objects per CPU second, {} GB a measurement, {} rounds; CPU time of all threads, median \
             (least-most), ratios median [95 % interval of the median] of rounds. leaktrace's samples stand for {} of the \
             bytes; it takes {} CPU seconds to attach. {}.",
            self.node,
            self.gb_per_cpu_second,
            self.gigabytes,
            self.rounds,
            self.bytes_seen.show(2),
            self.agent_seconds_to_attach.show(1),
            self.machine.text()
        );
        text
    }
}
