//! Every process of the machine under one leaktrace: those that leak are named, whatever their allocator, and no other.
//!
//! Unlike in other tests the probes stand in the machine's own libc too, for as long as this takes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tests_kernel::{
    Agent, Program, Report,
    agent::{binary, run},
    checkout,
    compile::{Compiler, compiled},
    memory, needs_root,
    node::node,
    private_libs::PrivateLibs,
    skip::skip,
};

/// What is found of the kernel's programs at a test's end must not be another test's.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A leaktrace of all processes.
fn attach(flags: &[&str]) -> Agent {
    Agent::start(Command::new(binary()).args(flags)).unwrap()
}

fn preloaded(name: &str) -> Program {
    let executable = compiled("service.c", Compiler::Gcc).unwrap();
    let libs = PrivateLibs::copy(&[name]).unwrap();
    Program::start_file(&executable, &["leak"], libs, &[name]).unwrap()
}

fn script(interpreter: &str, name: &str) -> Program {
    let script = checkout().join("testprogs").join(name);
    let mut command = Command::new(interpreter);
    command.arg(script).env_remove("LD_PRELOAD");
    Program::start_command(&mut command, PrivateLibs::copy(&[]).unwrap()).unwrap()
}

/// A root of its own, with a libc of its own.
fn in_another_root(folder: &Path) -> Program {
    let executable = compiled("service.c", Compiler::Gcc).unwrap();
    let libs = PrivateLibs::copy(&[]).unwrap();
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::create_dir_all(folder.join("lib64")).unwrap();
    fs::copy(libs.file("libc.so.6"), folder.join("lib/libc.so.6")).unwrap();
    fs::copy("/lib64/ld-linux-x86-64.so.2", folder.join("lib64/ld-linux-x86-64.so.2")).unwrap();
    fs::copy(executable, folder.join("service")).unwrap();
    let mut command = Command::new("chroot");
    command.arg(folder).args(["/service", "leak"]).env("LD_LIBRARY_PATH", "/lib").env_remove("LD_PRELOAD");
    Program::start_command(&mut command, libs).unwrap()
}

fn service(mode: &str) -> Program {
    Program::start("service.c", Compiler::Gcc, &[mode]).unwrap()
}

/// Those that leak, by what is special about each.
fn leaking(root: &Path) -> Vec<(&'static str, Program)> {
    let mut programs = vec![
        ("glibc", service("leak")),
        ("musl", Program::start("service.c", Compiler::Musl, &["leak"]).unwrap()),
        ("jemalloc", preloaded("libjemalloc.so.2")),
        ("static Rust", Program::start("service.rs", Compiler::RustcStatic, &[]).unwrap()),
        ("Python", script("python3", "service.py")),
        ("another root", in_another_root(root)),
    ];
    if has_library("libtcmalloc_minimal.so.4") && has_library("libmimalloc.so.2") {
        programs.push(("tcmalloc", preloaded("libtcmalloc_minimal.so.4")));
        programs.push(("mimalloc", preloaded("libmimalloc.so.2")));
    } else {
        skip("allocators", "tcmalloc and mimalloc are not installed");
    }
    if let Some(node) = node(22) {
        programs.push(("node", Program::node(&node, &[], "service.js").unwrap()));
    }
    programs
}

fn has_library(name: &str) -> bool {
    PrivateLibs::copy(&[name]).is_ok()
}

fn leaks_of(report: &Report, pid: u32) -> Vec<String> {
    let leaks = report.verdicts.iter().filter(|verdict| verdict.pid == pid);
    leaks.filter(|verdict| verdict.verdict == "LEAK").map(|verdict| verdict.text.clone()).collect()
}

#[test]
fn leaks_of_every_allocator_are_named_in_their_process_and_none_in_the_others() {
    needs_root();
    let _alone = alone();
    let root = tempfile::Builder::new().prefix("leaktrace-root-").tempdir().unwrap();
    let mut leaking = leaking(root.path());
    let mut innocent: Vec<Program> = (0..30).map(|_| service("innocent")).collect();
    // A compiler at work beside this has more stacks and blocks than there is room for.
    let agent = attach(&["--exact", "--epoch", "500ms", "--interval", "5s", "--exclude", "rustc"]);
    // One that begins later is found as well.
    leaking.push(("begun later", service("leak")));
    for (_, program) in &mut leaking {
        program.begin().unwrap();
    }
    for program in &mut innocent {
        program.begin().unwrap();
    }
    // A leak takes 72 epochs, and each takes longer where the machine has other large processes.
    let until = Instant::now() + Duration::from_secs(180);
    let is_named =
        |(_, program): &(&str, Program), report: &Report| !leaks_of(report, program.pid()).is_empty();
    while Instant::now() < until {
        thread::sleep(Duration::from_secs(5));
        let Ok(report) = Report::read(&agent.report_path()) else { continue };
        if leaking.iter().all(|one| is_named(one, &report)) {
            break;
        }
    }
    let report = agent.stop_within(Duration::from_secs(120)).unwrap();
    assert_eq!(report.coverage.lost, 0, "{:?}", report.coverage);
    for (what, program) in &leaking {
        let leaks = leaks_of(&report, program.pid());
        let site = |text: &String| text.contains("leak_a_request") || text.contains("leakARequest");
        // CPython's frames are those of its interpreter.
        let is_named = leaks.iter().any(site) || (*what == "Python" && !leaks.is_empty());
        assert!(
            is_named,
            "{what} (pid {}): {leaks:?}\n{:?}",
            program.pid(),
            verdicts(&report, program.pid())
        );
    }
    for program in &innocent {
        assert!(leaks_of(&report, program.pid()).is_empty(), "{:?}", leaks_of(&report, program.pid()));
    }
    for program in leaking.iter_mut().map(|(_, program)| program).chain(&mut innocent) {
        program.stop().unwrap();
    }
    assert_nothing_stays();
}

fn verdicts(report: &Report, pid: u32) -> Vec<&str> {
    let of = report.verdicts.iter().filter(|verdict| verdict.pid == pid);
    of.map(|verdict| verdict.text.as_str()).collect()
}

/// No program of ours is loaded any more, and so no probe is placed.
fn assert_nothing_stays() {
    const OURS: [&str; 4] = ["free_enter", "call_enter", "call_return", "process_fork"];
    let shown = || Command::new("bpftool").args(["prog", "show"]).output();
    // The kernel frees them a moment after they are closed.
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let Ok(shown) = shown() else { return skip("bpftool", "bpftool is not installed") };
        let text = String::from_utf8_lossy(&shown.stdout);
        if !OURS.iter().any(|program| text.contains(program)) {
            return;
        }
        assert!(Instant::now() < until, "{text}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn those_that_are_chosen_are_traced_and_no_other_and_a_program_that_becomes_another_is_not() {
    needs_root();
    let _alone = alone();
    let executable = compiled("service.c", Compiler::Gcc).unwrap();
    let folder = tempfile::Builder::new().prefix("leaktrace-chosen-").tempdir().unwrap();
    let named = |name: &str| {
        let copy = folder.path().join(name);
        fs::copy(&executable, &copy).unwrap();
        Program::start_file(&copy, &["leak"], PrivateLibs::copy(&[]).unwrap(), &[]).unwrap()
    };
    let mut chosen = named("lt-chosen");
    let mut left_out = named("lt-left-out");
    let agent = attach(&["--exact", "--comm", "lt-chosen", "--comm", "lt-later", "--comm", "lt-later-shell"]);
    let mut later = named("lt-later");
    for program in [&mut chosen, &mut left_out, &mut later] {
        program.begin().unwrap();
    }
    // One that is wanted becomes one that is not.
    let shell = folder.path().join("lt-later-shell");
    fs::copy("/bin/sh", &shell).unwrap();
    let mut command = Command::new(&shell);
    command.args(["-c", &format!("sleep 1; exec {}/lt-left-out leak", folder.path().display())]);
    let mut changed = Program::start_command(&mut command, PrivateLibs::copy(&[]).unwrap()).unwrap();
    changed.begin().unwrap();
    thread::sleep(Duration::from_secs(2));
    let report = agent.stop().unwrap();
    let traced: Vec<u32> = report.processes.iter().map(|process| process.pid).collect();
    assert!(traced.contains(&chosen.pid()) && traced.contains(&later.pid()), "{traced:?}");
    assert!(!traced.contains(&left_out.pid()), "{traced:?}");
    assert!(report.at_in("leak_a_request", chosen.pid()).live_blocks > 50);
    assert!(report.at_in("leak_a_request", later.pid()).live_blocks > 50);
    // Until its exec is heard of it may do something.
    assert!(report.at_in("leak_a_request", changed.pid()).live_blocks < 20);
    for mut program in [chosen, left_out, later, changed] {
        program.stop().unwrap();
    }
}

#[test]
fn ten_thousand_processes_that_come_and_go_leave_nothing_in_the_agent() {
    needs_root();
    let _alone = alone();
    let agent = attach(&["--exact", "--comm", "sh", "--comm", "true"]);
    let churn = |processes: u32| {
        let script = format!("i=0; while [ $i -lt {processes} ]; do /bin/true; i=$((i+1)); done");
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    };
    churn(2500);
    let early = memory::bytes(agent.pid(), "VmRSS").unwrap();
    churn(7500);
    thread::sleep(Duration::from_secs(6));
    let late = memory::bytes(agent.pid(), "VmRSS").unwrap();
    let report = agent.stop().unwrap();
    assert!(report.coverage.ended_processes >= 10_000, "{:?}", report.coverage);
    assert!(report.processes.len() < 1000, "{}", report.processes.len());
    assert!(late < early + (32 << 20), "{early} bytes after 2,500 processes, {late} after 10,000");
}

#[test]
fn one_that_becomes_wanted_without_an_exec_is_found_however_rare_reports_are() {
    needs_root();
    let _alone = alone();
    let agent = attach(&["--exact", "--user", "nobody", "--interval", "1h"]);
    let script = "import os, time; time.sleep(1); os.setuid(65534); time.sleep(60)";
    let mut program = Command::new("python3").args(["-c", script]).env_remove("LD_PRELOAD").spawn().unwrap();
    // All processes are looked at each five seconds.
    thread::sleep(Duration::from_secs(9));
    let report = agent.stop().unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    let traced: Vec<u32> = report.processes.iter().map(|process| process.pid).collect();
    assert!(traced.contains(&program.id()), "{traced:?}");
}

/// What a process holds open.
fn descriptors(pid: u32) -> impl Iterator<Item = String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    descriptors.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
}

/// Links by which probes stand. Each keeps its file, deleted or not.
fn links(pid: u32) -> usize {
    descriptors(pid)
        .filter(|file| file.contains("bpf_link") || file.contains("bpf-link") || file.contains("perf_event"))
        .count()
}

/// Files that a process holds open or has mapped though they are deleted, of those in these folders.
fn deleted_and_held(pid: u32, folders: &[&Path]) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapped = maps.lines().filter_map(|line| Some(line[line.find('/')?..].to_owned()));
    let files = descriptors(pid).chain(mapped.collect::<Vec<_>>());
    let is_in = |file: &String| folders.iter().any(|folder| file.starts_with(&folder.display().to_string()));
    files.filter(|file| file.ends_with("(deleted)") && is_in(file)).collect()
}

#[test]
fn what_was_replaced_and_is_mapped_by_nobody_is_let_go_and_what_took_its_place_is_traced() {
    needs_root();
    let _alone = alone();
    let executable = compiled("service.c", Compiler::Gcc).unwrap();
    let folder = tempfile::Builder::new().prefix("leaktrace-deployed-").tempdir().unwrap();
    let path = folder.path().join("lt-deployed");
    let flags = ["--exact", "--comm", "lt-deployed", "--keep-files", "1s", "--epoch", "250ms"];
    let agent = attach(&flags);
    // Those by which it measured what a trap costs are gone soon.
    thread::sleep(Duration::from_secs(3));
    let links_before = links(agent.pid());
    let mut deployed = Vec::new();
    for _ in 0..3 {
        fs::copy(&executable, &path).unwrap();
        let libs = PrivateLibs::copy(&[]).unwrap();
        let of_libs = libs.file("libc.so.6").parent().unwrap().to_owned();
        let mut program = Program::start_file(&path, &["leak"], libs, &[]).unwrap();
        program.begin().unwrap();
        thread::sleep(Duration::from_secs(4));
        deployed.push(program.pid());
        let held = || deleted_and_held(agent.pid(), &[folder.path(), &of_libs]);
        fs::remove_file(&path).unwrap();
        // What runs is not let go.
        thread::sleep(Duration::from_secs(2));
        assert!(!held().is_empty() && links(agent.pid()) > links_before);
        program.stop().unwrap();
        drop(program);
        let until = Instant::now() + Duration::from_secs(20);
        while !(held().is_empty() && links(agent.pid()) == links_before) && Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!((held(), links(agent.pid())), (Vec::new(), links_before));
    }
    let report = agent.stop().unwrap();
    // By its name, though the file is gone.
    for pid in deployed {
        let told = verdicts(&report, pid);
        assert!(
            told.iter().any(|text| text.contains("main (") && text.contains("leak_a_request (")),
            "{told:?}"
        );
    }
    assert_nothing_stays();
}

#[test]
fn capabilities_are_enough_and_root_is_not_needed() {
    needs_root();
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("leaktrace-caps-").tempdir().unwrap();
    let copy = tests_kernel::agent::binary_for_all(folder.path()).unwrap();
    let mut program = service("leak");
    program.begin().unwrap();
    let caps = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let ended = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([
            format!("--inh-caps={caps}"),
            format!("--ambient-caps={caps}"),
            format!("--bounding-set={caps}"),
        ])
        .arg(&copy)
        .args(["--exact", "--duration", "4s", "--top", "1000"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(text.contains("leak_a_request"), "{text}\n{}", String::from_utf8_lossy(&ended.stderr));
    program.stop().unwrap();
}

#[test]
fn bad_choices_are_refused_with_what_to_type() {
    for (line, code, word) in [
        (&["--pid", "1", "--comm", "x"][..], 2, "leave out"),
        (&["--user", "nobody-of-this-name"][..], 2, "getent passwd"),
        (&["--prove"][..], 2, "--pid"),
        (&["--duration", "1s", "--metrics", "no address"][..], 2, "127.0.0.1:9464"),
        (&["--duration", "1s", "--push", "localhost"][..], 2, "http://localhost:4040"),
    ] {
        let ended = run(line).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{line:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{line:?}: {}", ended.stderr);
    }
}
