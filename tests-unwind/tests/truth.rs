//! Compares the kernel side's stacks with those that the processes find themselves, frame by frame.
//!
//! `cargo test -p tests-unwind --test truth [-- NAME...]`: only these cases; LEAKTRACE_SHOW=n prints the first n
//! differences of each. The last line is one of libtest's, in which each case is a test.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use leaktrace::unwind::arena::REST;
use leaktrace_common::{
    counter::Counter,
    event::StackRecord,
    process::ProcessId,
    stack::{MAX_FRAMES, StopReason},
};
use tests_unwind::{
    kernel::Kernel,
    programs, tables,
    tracee::{self, State, Tracee},
};
use zerocopy::FromBytes;

struct Case {
    name: &'static str,
    command: Vec<String>,
    every: u32,
    /// The process's own unwinder ends at code without tables (JIT), where ours goes on.
    ours_may_be_longer: bool,
}

#[derive(Default)]
struct Outcome {
    stacks: u64,
    frames: u64,
    equal: u64,
    /// Equal as far as the process's own went, and from there on to the end of the thread.
    longer: u64,
    /// The outermost frames of stacks that are equal: where threads begin.
    roots: HashSet<u64>,
    /// Those of stacks that are longer than the truth, and of how many.
    longer_roots: HashMap<u64, u64>,
    deepest: usize,
    stops: BTreeMap<String, u64>,
    shown: usize,
    /// How often it stopped itself: once a program, and after every dlopen.
    stopped: u64,
    status: i32,
    /// Bytes of the arena when it had been running for [`SETTLED`].
    settled: Option<usize>,
}

/// Fewer stacks than this in all prove too little.
const LEAST_STACKS: u64 = 100_000;
/// Given-up tables rest for 10 s, so that the arena has its full size by now.
const SETTLED: Duration = Duration::from_secs(20);

/// Bytes of the tables of node's executable, the largest binary here: 1.2 MiB of Debian's, 2.8 of nodejs.org's 26.
const MOST_TABLES: usize = 3_000_000;

/// Records read without a pause, a tenth of the ring: then the process waits, so that none is lost.
const FALLEN_BEHIND: u32 = 3000;

const STARTS: [&str; 3] = ["return", "entry", "site"];

fn main() -> Result<ExitCode> {
    let (flags, only): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    if flags.iter().any(|flag| flag == "--list") {
        println!("truth: test");
        return Ok(ExitCode::SUCCESS);
    }
    let preload = programs::build("preload.c", &["-shared", "-fPIC"])?;
    let mut kernel = Kernel::load(&programs::object()?)?;
    for program in ["call_enter", "call_return", "call_at_ret", "free_enter", "process_fork"] {
        println!("{program}: {} instructions verified", kernel.verify(program)?.unwrap_or(0));
    }
    for (program, symbol) in [
        ("truth_entry", "leaktrace_truth"),
        ("truth_site", "leaktrace_truth_site"),
        ("truth_return", "leaktrace_truth"),
    ] {
        kernel.attach(program, symbol, &preload)?;
        println!("{program}: {} instructions verified", kernel.verify(program)?.unwrap_or(0));
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut check = |name: &str, is_right: bool| {
        println!("test {name} ... {}", if is_right { "ok" } else { "FAILED" });
        *if is_right { &mut passed } else { &mut failed } += 1;
    };
    let mut total = 0;
    let (cases, missing) = cases()?;
    for name in missing {
        println!("{name:12} skipped: there is no such program here");
        if programs::may_not_skip() {
            check(name, false);
        } else {
            skipped += 1;
        }
    }
    for (number, case) in cases.into_iter().enumerate() {
        if !only.is_empty() && !only.iter().any(|name| name == case.name) {
            continue;
        }
        let outcome = run(&mut kernel, &case, &preload, ProcessId(number as u32 + 1))?;
        let right = outcome.equal + outcome.longer;
        if outcome.longer > 0 {
            println!(
                "{:12} the stacks longer than the truth end in {} places, all others in {}",
                case.name,
                outcome.longer_roots.len(),
                outcome.roots.len()
            );
        }
        println!(
            "{:12} {:8} stacks {:9} frames, deepest {:3}: {:8.4} % right ({} longer than the truth) {:?}",
            case.name,
            outcome.stacks,
            outcome.frames,
            outcome.deepest,
            right as f64 * 100.0 / outcome.stacks.max(1) as f64,
            outcome.longer,
            outcome.stops,
        );
        check(case.name, right == outcome.stacks && outcome.stacks > 0 && outcome.status == 0);
        total += outcome.stacks;
        if let Some(settled) = outcome.settled {
            let end = kernel.tables.memory().0;
            println!(
                "{:12} stopped {} times for tables; arena {} KiB after {SETTLED:?}, {} KiB at the end",
                case.name,
                outcome.stopped,
                settled / 1024,
                end / 1024
            );
            // A leak would have tripled it in a minute; what rests varies with the machine's speed.
            check("the arena does not grow", end < settled * 2);
        }
    }
    if only.is_empty() || only.iter().any(|name| name == "pending") {
        check("pending", pending(&mut kernel, &preload)?);
    }
    if only.is_empty() || only.iter().any(|name| name == "debug_frame") {
        check("debug_frame", debug_frame(&mut kernel, &preload)?);
    }
    let lost = [Counter::RingFull, Counter::ScratchBusy].map(|counter| kernel.counter(counter));
    let [ring, scratch] = lost;
    let (ring, scratch) = (ring?, scratch?);
    let (size, used) = kernel.tables.memory();
    println!(
        "{total} stacks; lost to a full ring: {ring}, to busy scratch space: {scratch}; arena {} KiB, {} KiB used",
        size / 1024,
        used / 1024
    );
    // The ring overflows where this process gets no processor for a while: such stacks are counted, and not compared.
    check("hardly a stack was lost", ring * 100 <= total && scratch == 0);
    // Binaries that nobody uses are dropped after a rest, and what they gave up rests once more.
    let now = tracee::now();
    kernel.tables.settle(now + REST * 2);
    kernel.tables.settle(now + REST * 4);
    let (_, kept) = kernel.tables.memory();
    println!("{kept} bytes of the arena are in use when every process is gone");
    check("the arena is empty in the end", kept == 0);
    if let Some(node) = programs::node().filter(|_| only.is_empty()) {
        let tables = tables::make(&node)?;
        println!("the tables of {}: {} rows, {} KiB", node.display(), tables.rows, tables.bytes / 1024);
        check("the tables of node are small", tables.bytes < MOST_TABLES);
    }
    if only.is_empty() {
        check("enough stacks", total >= LEAST_STACKS);
    }
    let verdict = if failed > 0 { "FAILED" } else { "ok" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
    );
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Stacks by their number and where they started.
type Stacks = HashMap<(u64, u32), Vec<u64>>;

/// The same program with return probes pending in its recursion has to have the same stacks. Its own unwinder is
/// no judge of that: it takes the kernel's trampoline for a frame.
fn pending(kernel: &mut Kernel, preload: &Path) -> Result<bool> {
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
fn debug_frame(kernel: &mut Kernel, preload: &Path) -> Result<bool> {
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

/// And the names of those whose programs are not here.
fn cases() -> Result<(Vec<Case>, Vec<&'static str>)> {
    let path = |path: PathBuf| path.display().to_string();
    let case = |name, every, command: &[&str]| Case {
        name,
        command: command.iter().map(ToString::to_string).collect(),
        every,
        ours_may_be_longer: false,
    };
    let frames = path(programs::build("frames.c", &[])?);
    let objects = path(programs::build("objects.cpp", &[])?);
    let collections = path(programs::build("collections.rs", &[])?);
    let linker = linker(Path::new(&collections))?;
    println!("the Rust case is linked by {linker}");
    if cfg!(target_arch = "x86_64") && !linker.contains("LLD") {
        bail!("the Rust case has to be linked by lld, whose segments overlap");
    }
    // Not the shims that some machines have in front of them.
    let python = said(&["python3", "-c", "import sys; print(sys.executable)"])?;
    let reload = path(programs::build("reload.c", &[])?);
    let plugins = ["-DSIZE=16", "-DSIZE=200", "-DSIZE=1000"].map(|size| {
        programs::build_as("plugin.c", &format!("plugin{size}"), &["-shared", "-fPIC", size]).map(path)
    });
    let [small, middle, large] = plugins;
    let (small, middle, large) = (small?, middle?, large?);
    let altstack = path(programs::build("altstack.c", &[])?);
    let copies = path(programs::build("copies.c", &[])?);
    let identified = ["-shared", "-fPIC", "-DSIZE=72", "-Wl,--build-id=sha1"];
    let [first, second] =
        ["copy1", "copy2"].map(|name| programs::build_as("plugin.c", name, &identified).map(path));
    let (first, second) = (first?, second?);
    if std::fs::read(&first)? != std::fs::read(&second)? {
        bail!("the two copies differ, so that they have no build id in common");
    }
    // A minute in CI, see `.ci/run`; shorter by hand.
    let seconds = std::env::var("LEAKTRACE_SECONDS").unwrap_or_else(|_| "10".into());
    let mut cases = vec![
        case("c", 1, &[&frames, "8000"]),
        case("c-threads", 4, &[&frames, "3000", "16"]),
        case("c-altstack", 1, &[&altstack, "400"]),
        case("copies", 1, &[&copies, "2000", &first, &second]),
        case("c++", 4, &[&objects, "4"]),
        case("rust", 2, &[&collections, "60"]),
        case("python3", 4, &[&python, &programs::script("work.py")]),
        case("perl", 2, &["perl", &programs::script("work.pl")]),
        case("reload", 1, &[&reload, &seconds, &small, &middle, &large]),
        case("git", 1, &["git", "-C", env!("CARGO_MANIFEST_DIR"), "log", "--stat", "--oneline"]),
        case(
            "clang",
            40,
            &["clang", "-x", "c++", "-O1", "-c", &programs::script("objects.cpp"), "-o", "/dev/null"],
        ),
    ];
    let node = programs::node().map_or_else(|| "node".to_owned(), path);
    let mut node = case("node", 20, &[&node, &programs::script("work.js")]);
    node.ours_may_be_longer = true;
    cases.push(node);
    let mut missing = Vec::new();
    cases.retain(|case| {
        let found = said(&["sh", "-c", &format!("command -v {}", case.command[0])]).is_ok();
        if !found {
            missing.push(case.name);
        }
        found
    });
    Ok((cases, missing))
}

/// What the linker says of itself in the section `.comment`.
fn linker(program: &Path) -> Result<String> {
    let comments = said(&["readelf", "-p", ".comment", &program.display().to_string()])?;
    Ok(comments
        .lines()
        .find_map(|line| line.split_once("Linker: "))
        .map_or("GNU ld", |(_, name)| name)
        .to_owned())
}

fn said(command: &[&str]) -> Result<String> {
    let output = Command::new(command[0]).args(&command[1..]).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn run(kernel: &mut Kernel, case: &Case, preload: &Path, id: ProcessId) -> Result<Outcome> {
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
    let show = std::env::var("LEAKTRACE_SHOW").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
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
    if is_equal {
        outcome.equal += 1;
        outcome.roots.extend(ours_frames.last().filter(|_| !is_cut));
    } else if let Some(root) = ours_frames.last().filter(|_| is_longer && is_through) {
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
