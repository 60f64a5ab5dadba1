//! What it takes to trace a whole machine that is full of services and of programs that live for a millisecond, and whether
//! a leak in one of the services is found among them.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tests_kernel::{
    Agent, Report,
    child::Process,
    compile::{Compiler, compiled},
    http,
    load::free_port,
    memory,
    private_libs::PrivateLibs,
};

use super::{Machine, programs::cpu::cpu_of};

const LEAK: &str = "crowd_leak";
/// Between two looks at what leaktrace uses.
const LOOK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Services of the crowd
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    services: u32,
    /// Copies of libc that they share
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Pairs of malloc and free a second of each
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Bytes a second that one of them leaks
    #[arg(long, default_value_t = 20_000)]
    leak: u32,
    /// Programs that are started each second beside them
    #[arg(long, default_value_t = 500)]
    spawns: u32,
}

/// What leaktrace used, at the end of a minute.
#[derive(Debug, Serialize)]
struct Minute {
    seconds: u64,
    /// As it says itself: part of the services' own CPU time, and part of the time in which they were watched.
    overhead: f64,
    watched: f64,
    /// CPU seconds of leaktrace by the second, in this minute.
    cpu: f64,
    cpu_most: f64,
    /// At its end, and the most in this minute.
    resident_mib: f64,
    resident_most_mib: f64,
}

/// What `bench_crowd spawn` says in the end.
#[derive(Debug, Deserialize, Serialize)]
struct Spawned {
    started: u64,
    /// Seconds.
    late: f64,
}

#[derive(Debug, Deserialize)]
struct Served {
    leaked: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    services: u32,
    files: u32,
    machine: Machine,
    minutes: Vec<Minute>,
    resident_most_mib: f64,
    /// Part of the services' own CPU time.
    overhead: f64,
    windows: u64,
    lost: u64,
    mappings_lost: u64,
    seconds_to_begin: f64,
    seconds_to_end: f64,
    /// CPU seconds of the services by the second: before, until leaktrace said that it had attached, while it traced, and
    /// until it had ended.
    services_bare: f64,
    services_begin: f64,
    services_traced: f64,
    services_end: f64,
    spawned: Spawned,
    /// Bytes that were leaked while it traced, and those that it said live there.
    leaked: u64,
    leak_told: u64,
    /// With its verdict, or its place in the list.
    found: String,
}

/// Services that end when this does.
struct Crowd {
    stdin: Option<ChildStdin>,
    children: Vec<Child>,
    leaking: Process,
    /// When that one was started.
    begun: Instant,
    _libs: Vec<PrivateLibs>,
}

impl Crowd {
    fn start(program: &Path, args: &Args) -> Result<Self> {
        let libs: Vec<_> = (0..args.files).map(|_| PrivateLibs::copy(&[])).collect::<Result<_>>()?;
        let serve = |number: u32, leak: u32| {
            let mut command = Command::new(program);
            let libs = &libs[(number % args.files) as usize];
            command.args(["serve", &args.rate.to_string(), &leak.to_string()]);
            command.env("LD_LIBRARY_PATH", libs.folder()).stdout(Stdio::null());
            command
        };
        // One pipe is the stdin of all.
        let mut first = serve(0, 0).stdin(Stdio::piped()).spawn()?;
        let stdin = first.stdin.take().context("a pipe was asked for")?;
        let theirs = format!("/proc/{}/fd/0", first.id());
        let mut children = vec![first];
        for number in 1..args.services {
            children.push(serve(number, 0).stdin(fs::File::open(&theirs)?).spawn()?);
        }
        let leaking = Process::start(&mut serve(args.files / 2, args.leak))?;
        Ok(Self { stdin: Some(stdin), children, leaking, begun: Instant::now(), _libs: libs })
    }

    /// CPU seconds of all. Each does so little that hundredths of a second would not show it.
    fn cpu(&self) -> Result<f64> {
        let of = |child: &Child| -> Result<f64> {
            let stat = fs::read_to_string(format!("/proc/{}/schedstat", child.id()))?;
            Ok(stat.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
        };
        self.children.iter().map(of).sum()
    }

    /// CPU seconds by the second while something is done.
    fn cpu_during<T>(&self, done: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
        let (before, begun) = (self.cpu()?, Instant::now());
        let done = done()?;
        let took = begun.elapsed().as_secs_f64();
        Ok((done, (self.cpu()? - before) / took, took))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.stdin.take());
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

pub(super) fn run(bin: &Path, args: &Args, seconds: u32) -> Result<Outcome> {
    let program = compiled("bench_crowd.c", Compiler::Gcc)?;
    let mut crowd = Crowd::start(&program, args)?;
    let mut spawning =
        Process::start(Command::new(&program).args(["spawn", &args.spawns.to_string(), "/bin/true"]))?;
    thread::sleep(Duration::from_secs(5));
    let ((), services_bare, _) = crowd.cpu_during(|| {
        thread::sleep(Duration::from_secs(10));
        Ok(())
    })?;
    let port = free_port()?;
    let start = || Agent::start(Command::new(bin).args(["--metrics", &format!("127.0.0.1:{port}")]));
    let (agent, services_begin, seconds_to_begin) = crowd.cpu_during(start)?;
    let leaked_before = crowd.begun.elapsed().as_secs_f64() * f64::from(args.leak);
    let (minutes, services_traced, _) = crowd.cpu_during(|| watch(agent.pid(), port, seconds))?;
    let pid = agent.pid();
    let at_the_end = thread::spawn(move || most_until_it_ends(pid));
    let (report, services_end, seconds_to_end) =
        crowd.cpu_during(|| agent.stop_within(Duration::from_secs(300)))?;
    let most_at_the_end = at_the_end.join().unwrap_or_default();
    let most = minutes.iter().map(|minute| minute.resident_most_mib);
    let resident_most_mib = most.fold(most_at_the_end, f64::max);

    let told = |process: &mut Process| {
        drop(process.stdin.take());
        process.stdout.next(PATIENCE)?.context("it ended without a word")
    };
    let spawned = serde_json::from_str(&told(&mut spawning)?)?;
    let leaked: Served = serde_json::from_str(&told(&mut crowd.leaking)?)?;
    let cost = report.cost.as_ref().context("the report does not say what tracing took")?;
    Ok(Outcome {
        services: args.services,
        files: args.files,
        machine: Machine::this()?,
        minutes,
        resident_most_mib,
        overhead: cost.share,
        windows: cost.pauses + 1,
        lost: report.coverage.lost,
        mappings_lost: report.counter("MappingsLost"),
        seconds_to_begin,
        seconds_to_end,
        services_bare,
        services_begin,
        services_traced,
        services_end,
        spawned,
        leaked: leaked.leaked.saturating_sub(leaked_before as u64),
        leak_told: report.at(LEAK).live_bytes,
        found: found(&report),
    })
}

/// The verdict on the leak, or where its stack stands among all by what lives.
fn found(report: &Report) -> String {
    if let Some(verdict) = report.verdicts.iter().find(|verdict| verdict.has(LEAK)) {
        return verdict.text.clone();
    }
    let of_leak = report.stacks_at(LEAK).map(|stack| stack.sums.live_bytes).max();
    of_leak.map_or_else(
        || "not seen".to_owned(),
        |bytes| {
            let above = report.stacks.iter().filter(|stack| stack.sums.live_bytes > bytes).count();
            format!("listed, place {}", above + 1)
        },
    )
}

/// What leaktrace uses for so long, by the minute.
fn watch(pid: u32, port: u16, seconds: u32) -> Result<Vec<Minute>> {
    let (begun, mut minutes) = (Instant::now(), Vec::new());
    let (mut cpu, mut at_minute, mut most) = (cpu_of(pid)?, cpu_of(pid)?, 0.0f64);
    for second in 1..=u64::from(seconds) {
        thread::sleep((begun + LOOK * second as u32).saturating_duration_since(Instant::now()));
        let now = cpu_of(pid)?;
        most = most.max(now - std::mem::replace(&mut cpu, now));
        if second % 60 == 0 || second == u64::from(seconds) {
            let metrics = http::get(port, "/metrics")?;
            let of = (second - 1) % 60 + 1;
            let minute = Minute {
                seconds: second,
                overhead: metric(&metrics, "leaktrace_overhead_cpu_seconds_total")?
                    / metric(&metrics, "leaktrace_traced_cpu_seconds_total")?,
                watched: metric(&metrics, "leaktrace_watched_ratios")?,
                cpu: (now - std::mem::replace(&mut at_minute, now)) / of as f64,
                cpu_most: std::mem::take(&mut most),
                resident_mib: mib(pid, "VmRSS")?,
                resident_most_mib: mib(pid, "VmHWM")?,
            };
            // From here on anew, see `clear_refs` in <https://docs.kernel.org/filesystems/proc.html>.
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
            eprintln!("{minute:.2?}");
            minutes.push(minute);
        }
    }
    Ok(minutes)
}

/// MiB that a process has had at most, as far as that is seen until it has ended.
fn most_until_it_ends(pid: u32) -> f64 {
    let mut most = 0.0;
    while let Ok(now) = mib(pid, "VmHWM") {
        most = now;
        thread::sleep(Duration::from_millis(20));
    }
    most
}

fn metric(metrics: &str, name: &str) -> Result<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("no {name} among the metrics"))?.trim().parse().context("no number")
}

fn mib(pid: u32, key: &str) -> Result<f64> {
    Ok(memory::bytes(pid, key)? as f64 / 1048576.0)
}

impl Outcome {
    pub(super) fn markdown(&self) -> String {
        let Self { services, files, machine, windows, spawned, .. } = self;
        let mut text = format!(
            "{services} services with {files} copies of libc, and {} programs beside them ({:.1} s late), on {}.\n\n\
             | until | overhead | watched | leaktrace's CPU, most in a second | resident, most |\n|--:|--:|--:|--:|--:|\n",
            spawned.started,
            spawned.late,
            machine.text()
        );
        for Minute { seconds, overhead, watched, cpu, cpu_most, resident_mib, resident_most_mib } in
            &self.minutes
        {
            let [overhead, watched, cpu, cpu_most] =
                [overhead, watched, cpu, cpu_most].map(|part| format!("{:.1} %", 100.0 * part));
            let _ = writeln!(
                text,
                "| {seconds} s | {overhead} | {watched} | {cpu}, {cpu_most} | {resident_mib:.0}, {resident_most_mib:.0} MiB |"
            );
        }
        let _ = writeln!(
            text,
            "\nThe services took {:.1} % of a CPU before, {:.1} % for the {:.1} s until it had begun, {:.1} % while it traced, and \
             {:.1} % for the {:.1} s until it had ended. By its own account it took {:.1} % of what they did, in {windows} windows. \
             It had {:.0} MiB at most, the last report included; {} events and {} records of mappings were lost. The leak: {}, {} of {} bytes.",
            100.0 * self.services_bare,
            100.0 * self.services_begin,
            self.seconds_to_begin,
            100.0 * self.services_traced,
            100.0 * self.services_end,
            self.seconds_to_end,
            100.0 * self.overhead,
            self.resident_most_mib,
            self.lost,
            self.mappings_lost,
            self.found,
            self.leak_told,
            self.leaked,
        );
        text
    }
}
