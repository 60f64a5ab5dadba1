//! What a person gets wrong, and what leaktrace says to it: one clear message and a fixed exit code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::process::CommandExt, process::Command, time::Duration};

use tests_kernel::{
    Program,
    agent::{Ended, binary_for_all, run, run_command},
    compile::Compiler,
    needs_root,
};

const WRONG_USAGE: i32 = 2;
const NO_TARGET: i32 = 3;
const NO_PERMISSION: i32 = 4;
const NOTHING_TO_ATTACH_TO: i32 = 5;

/// The exit code, words of the message, and that it is a message: short, on stderr, and no panic.
fn says(ended: &Ended, code: i32, words: &[&str]) {
    let Ended { status, stdout, stderr } = ended;
    assert_eq!(status.code(), Some(code), "stderr:\n{stderr}");
    for word in words {
        assert!(stderr.to_lowercase().contains(&word.to_lowercase()), "no {word:?} in stderr:\n{stderr}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    assert_eq!(stdout, "", "data on stdout");
    assert!(stderr.lines().count() <= 12, "a wall of text:\n{stderr}");
}

#[test]
fn a_pid_that_no_process_has() {
    needs_root();
    let free = (4_000_000..).find(|pid| !fs::exists(format!("/proc/{pid}")).unwrap()).unwrap();
    says(&run(&["--pid", &free.to_string()]).unwrap(), NO_TARGET, &[&free.to_string(), "no process"]);
}

#[test]
fn a_kernel_thread() {
    needs_root();
    let thread = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        // Said since Linux 6.2; before it, only kernel threads have no VmSize and are no zombies.
        let is_kernel_thread = status.lines().any(|line| line == "Kthread:\t1")
            || (!status.contains("Kthread:")
                && !status.contains("VmSize:")
                && !status.contains("Z (zombie)"));
        is_kernel_thread.then(|| entry.file_name().into_string().ok())?
    });
    // In a container with a process namespace of its own there is none to point at.
    let Some(thread) = thread else { return };
    says(&run(&["--pid", &thread]).unwrap(), NO_TARGET, &[&thread, "kernel thread"]);
}

#[test]
fn a_suppress_file_that_makes_no_sense_is_said_before_tracing() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known.supp");
    fs::write(&file, "leak:fine\nparse_request\n").unwrap();
    let (file, missing) = (file.to_str().unwrap(), folder.path().join("none").display().to_string());
    let own = std::process::id().to_string();
    for (given, words) in [
        (file, &["known.supp:2", "write leak:parse_request"][..]),
        (missing.as_str(), &["cannot be read", "one leak:PATTERN a line"]),
    ] {
        says(&run(&["--pid", &own, "--suppress", given]).unwrap(), WRONG_USAGE, words);
    }
}

#[test]
fn an_output_file_that_cannot_be_written_is_said_before_tracing() {
    needs_root();
    let mut program = Program::c("family.c").unwrap();
    for flag in ["--json", "--folded", "--flamegraph", "--pprof", "--speedscope", "--heapprofile", "--html"] {
        let ended = run(&["--pid", &program.pid().to_string(), flag, "/nonexistent/folder/out"]).unwrap();
        says(&ended, WRONG_USAGE, &["cannot write", "/nonexistent/folder/out"]);
        assert!(!ended.stderr.contains("attached"), "{}", ended.stderr);
    }
    assert!(program.is_alive());
}

#[test]
fn a_static_binary_without_symbols() {
    needs_root();
    let program = Program::start("static_stripped.c", Compiler::Static, &[]).unwrap();
    let ended = run(&["--pid", &program.pid().to_string()]).unwrap();
    says(&ended, NOTHING_TO_ATTACH_TO, &["allocator", "static_stripped", "no symbols", "--prefix"]);
}

#[test]
fn a_command_that_does_not_exist() {
    needs_root();
    says(&run(&["--", "/nonexistent/command"]).unwrap(), NO_TARGET, &["/nonexistent/command"]);
}

#[test]
fn a_library_that_does_not_exist() {
    needs_root();
    let program = Program::c("family.c").unwrap();
    let ended = run(&["--pid", &program.pid().to_string(), "--lib", "/nonexistent/lib.so"]).unwrap();
    says(&ended, WRONG_USAGE, &["--lib", "/nonexistent/lib.so"]);
}

#[test]
fn a_prefix_that_no_symbol_has_is_said_and_the_rest_is_traced() {
    needs_root();
    let program = Program::c("family.c").unwrap();
    let pid = program.pid().to_string();
    let ended = run(&["--pid", &pid, "--prefix", "no_such_prefix_", "--duration", "1s"]).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("no_such_prefix_"), "{}", ended.stderr);
}

#[test]
fn wrong_usage_has_its_own_code() {
    for arguments in [
        &["--no-such-flag"][..],
        &["--pid", "many"],
        &["--pid", "0"],
        &["--pid", "1", "--top", "-3"],
        &["--pid", "1", "--duration", "soon"],
        &["--pid", "1", "--min-size", "10k", "--max-size", "1k"],
    ] {
        let ended = run(arguments).unwrap();
        assert_eq!(ended.status.code(), Some(WRONG_USAGE), "{arguments:?}:\n{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for flag in ["--help", "-h", "--version"] {
        let ended = run(&[flag]).unwrap();
        assert!(ended.status.success());
        assert!(ended.stdout.contains("leaktrace"), "{flag}");
    }
    assert!(run(&["--help"]).unwrap().stdout.contains("sudo leaktrace --pid"), "no worked example");
}

#[test]
fn without_permission_it_names_what_is_missing() {
    needs_root();
    let program = Program::c("family.c").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = binary_for_all(folder.path()).unwrap();
    // 65534 is nobody, in every distribution.
    let mut command = Command::new(copy);
    command.args(["--pid", &program.pid().to_string()]).current_dir("/").uid(65534).gid(65534);
    let ended = run_command(&mut command, Duration::from_secs(30)).unwrap();
    says(&ended, NO_PERMISSION, &["CAP_", "sudo"]);
}

#[test]
fn a_target_that_ends_during_attach_is_one_message() {
    needs_root();
    // Ended at a moment that is another in each round: before, while and after the probes are placed.
    for delay in [0, 1, 5, 20, 60, 150] {
        let program = Program::c("family.c").unwrap();
        let pid = program.pid().to_string();
        let ender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(delay));
            drop(program);
        });
        let ended = run(&["--pid", &pid]).unwrap();
        ender.join().unwrap();
        assert!(
            matches!(ended.status.code(), Some(0 | NO_TARGET)),
            "after {delay} ms: {}\n{}",
            ended.status,
            ended.stderr
        );
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}
