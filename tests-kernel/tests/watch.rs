//! `--watch`: probes are attached only to a process whose heap grows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command, thread::sleep, time::Duration};

use rustix::process::Signal;
use tests_kernel::{
    Program, Report,
    agent::binary,
    child::{PATIENCE, Process},
    compile::{Compiler, compiled},
    needs_root,
    private_libs::PrivateLibs,
};

/// Between two looks.
const EVERY: &str = "100ms";

/// Thirty looks, of which eight could tell.
const STEADY: Duration = Duration::from_secs(3);

fn watch(program: &Program, flags: &[&str]) -> Process {
    let pid = program.pid().to_string();
    let mut command = Command::new(binary());
    Process::start(command.args(["--watch", "--every", EVERY, "--pid", &pid]).args(flags)).unwrap()
}

/// The next line that begins so.
fn wait_for(watching: &mut Process, words: &str) -> String {
    loop {
        match watching.stderr.next(PATIENCE).unwrap() {
            Some(line) if line.starts_with(words) => return line,
            Some(_) => {}
            None => panic!("it ended without {words:?}:\n{}", watching.stderr.text()),
        }
    }
}

/// A uprobe puts a breakpoint into the code, which makes a copy of its page.
fn has_probes(program: &Program) -> bool {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", program.pid())).unwrap();
    // A mapping's head is followed by one line for each of its numbers.
    let code = smaps
        .split_inclusive("\nVmFlags")
        .filter(|mapping| mapping.contains(" r-xp ") && mapping.contains("/libc.so"));
    let anonymous = code.flat_map(str::lines).filter_map(|line| line.strip_prefix("Anonymous:"));
    let pages: Vec<&str> = anonymous.map(str::trim).collect();
    assert!(!pages.is_empty(), "{smaps}");
    pages.iter().any(|size| *size != "0 kB")
}

/// The number that stands before ` looks`.
fn looks(line: &str) -> u32 {
    let before = line.split(" looks").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_process_is_attached_once_it_leaks_and_one_that_does_not_never_is() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let [mut leaks, mut steady] = [(); 2].map(|()| Program::c("grows.c").unwrap());
    leaks.begin().unwrap();
    steady.begin().unwrap();
    let mut on_leaks = watch(&leaks, &["--json", json.to_str().unwrap()]);
    let mut on_steady = watch(&steady, &[]);
    for watching in [&mut on_leaks, &mut on_steady] {
        wait_for(watching, "watching ");
    }
    sleep(STEADY);
    assert!(!has_probes(&leaks), "it does not leak yet");

    leaks.begin().unwrap();
    let reason = wait_for(&mut on_leaks, "attaching probes after ");
    assert!(reason.contains("chunks of 1,808-2,048 B grew"), "{reason}");
    wait_for(&mut on_leaks, "attached to ");
    assert!(has_probes(&leaks), "the check of the others can fail");
    assert!(!has_probes(&steady));
    // Some leaks of what is traced.
    sleep(STEADY / 3);
    on_leaks.signal(Signal::INT).unwrap();
    assert_eq!(on_leaks.wait(PATIENCE).unwrap().code(), Some(0), "{}", on_leaks.stderr.text());
    let shown = on_leaks.stdout.rest().unwrap();
    assert!(shown.contains(&reason.replace("attaching probes", "attached")), "{shown}");
    let why = &serde_json::from_slice::<serde_json::Value>(&fs::read(&json).unwrap()).unwrap()["watch"];
    assert_eq!(why["looks"], looks(&reason), "{why}");
    let report = Report::read(&json).unwrap();
    assert!(report.at("leak_slowly").live_blocks > 0);
    assert_eq!(report.at("leak_slowly").frees, 0);

    on_steady.signal(Signal::INT).unwrap();
    assert_eq!(on_steady.wait(PATIENCE).unwrap().code(), Some(0));
    let looked = looks(&wait_for(&mut on_steady, "nothing grew in "));
    assert!(looked > 8, "too few looks to tell growth: {looked}");
    assert_eq!(on_steady.stdout.rest().unwrap(), "");
    steady.begin().unwrap();
    for program in [&mut leaks, &mut steady] {
        program.stop().unwrap();
    }
}

#[test]
fn a_watch_of_a_process_that_ends_ends_well() {
    needs_root();
    let mut program = Program::c("grows.c").unwrap();
    let mut watching = watch(&program, &[]);
    wait_for(&mut watching, "watching ");
    for _ in 0..3 {
        program.begin().unwrap();
    }
    program.finish().unwrap();
    program.end().unwrap();
    assert_eq!(watching.wait(PATIENCE).unwrap().code(), Some(0), "{}", watching.stderr.text());
}

#[test]
fn a_heap_that_cannot_be_read_from_outside_is_refused_with_what_to_type_instead() {
    needs_root();
    const JEMALLOC: &str = "libjemalloc.so.2";
    let executable = compiled("new_delete.cpp", Compiler::Gxx).unwrap();
    let libs = PrivateLibs::copy(&[JEMALLOC]).unwrap();
    let program = Program::start_file(&executable, &[], libs, &[JEMALLOC]).unwrap();
    let mut watching = watch(&program, &[]);
    assert_eq!(watching.wait(PATIENCE).unwrap().code(), Some(5));
    let said = watching.stderr.rest().unwrap();
    assert!(said.contains(&format!("trace it instead: sudo leaktrace --pid {}", program.pid())), "{said}");
    assert!(!has_probes(&program));
}
