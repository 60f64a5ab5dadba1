//! No probe may end a process: node does all that moves code, stacks and objects, while leaktrace comes and goes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tests_kernel::{Agent, Program, on_every_node};

on_every_node! { lives_through_attaching_and_detaching }

/// What V8 is told in turn, each build what it knows of it: pages that move, collections all the while, code without a
/// bytecode pointer or with too much inlined. They are the test's, not leaktrace's.
const FLAGS: [&[&str]; 5] = [
    &[],
    &["--stress-compaction", "--stress-scavenge=50"],
    &["--stress-marking=50", "--stress-incremental-marking", "--gc-interval=3000"],
    &["--stress-compaction-random", "--single-threaded-gc", "--always-sparkplug"],
    &["--deopt-every-n-times=500", "--stress-inline", "--stress-flush-code", "--max-semi-space-size=1"],
];

fn seconds() -> Duration {
    let seconds = std::env::var("LEAKTRACE_STRESS_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

fn is_known(node: &Path, flag: &str) -> bool {
    let mut command = Command::new(node);
    command.args([flag, "-e", "0"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn lives_through_attaching_and_detaching(major: u32, node: &Path) {
    let (mut runs, mut killed, mut samples, mut collections) = (0u32, 0, 0, 0);
    for asked in FLAGS {
        // Node 18 hangs by itself with these, no leaktrace near: one of two runs.
        if major == 18 && asked.contains(&"--stress-marking=50") {
            continue;
        }
        let flags: Vec<&str> = asked.iter().copied().filter(|flag| is_known(node, flag)).collect();
        let mut program = Program::node(node, &flags, "v8_stress.js").unwrap();
        // It keeps every core busy; leaktrace is to come and go as often as time allows.
        program.give_way().unwrap();
        program.begin().unwrap();
        // With a dozen other processes on two cores the kernel takes long to place and remove probes.
        let until = Instant::now() + seconds() / FLAGS.len() as u32;
        let first = runs;
        while Instant::now() < until || runs == first {
            // Alone, V8's probes come and go faster, and those of refills in windows; with malloc's, stacks run through both.
            let ours = [["--js-interval", "64KiB"], ["--only", "javascript"]][runs as usize % 2];
            let agent = Agent::attach(&[program.pid()], &ours)
                .unwrap_or_else(|error| panic!("node {major} {flags:?}: {error:?}\n{}", ended(&mut program)));
            thread::sleep(Duration::from_millis(500 + u64::from(runs * 617 % 2000)));
            runs += 1;
            if runs.is_multiple_of(3) {
                agent.kill().unwrap();
                killed += 1;
            } else {
                // Code that is compiled anew all the while has thousands of stacks, each in the report.
                let report = agent.stop_within(Duration::from_secs(900)).unwrap();
                let own = report.javascript(program.pid()).expect("V8 is found");
                samples += report.of_javascript().map(|stack| stack.sums.allocs).sum::<u64>();
                collections += own.minor.count + own.major.count;
            }
            assert!(program.is_alive(), "node {major} {flags:?} ended, run {runs}:\n{}", ended(&mut program));
        }
        program.begin().unwrap();
        let finished = program.finish();
        assert!(finished.is_ok(), "node {major} {flags:?}: {finished:?}");
        program.end().unwrap();
        let [rounds, workers] = ["rounds", "workers"].map(|name| program.truth.number(name).unwrap());
        eprintln!(
            "node {major} {flags:?}: {rounds} rounds, {workers} workers; until now {runs} runs, {killed} killed, \
             {samples} samples and {collections} collections seen"
        );
    }
    assert!(samples > 0 && collections > 0, "node {major}: nothing was seen");
}

fn ended(program: &mut Program) -> String {
    program.finish().err().map_or_else(String::new, |error| format!("{error:?}"))
}
