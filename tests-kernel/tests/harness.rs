//! The harness itself, without leaktrace: programs compile, keep the protocol and map their own libc.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{os::unix::fs::MetadataExt, path::Path};

use tests_kernel::{Agent, Program, compile::Compiler, private_libs::PrivateLibs};

fn runs(source: &str, compiler: Compiler, arguments: &[&str]) -> Program {
    let mut program = Program::start(source, compiler, arguments).unwrap();
    program.work().unwrap();
    assert!(program.is_alive());
    program.end().unwrap();
    program
}

#[test]
fn every_program_works_and_tells_its_truth() {
    for source in [
        "family.c",
        "realloc_fail.c",
        "cross_thread.c",
        "threads_exit.c",
        "fork.c",
        "exec.c",
        "mmap.c",
        "unknown_free.c",
    ] {
        for compiler in [Compiler::Gcc, Compiler::Clang] {
            let program = runs(source, compiler, &[]);
            assert!(!program.truth.sites.is_empty(), "{source}");
        }
    }
    for arguments in [&[][..], &["deeper"]] {
        assert_eq!(runs("custom_prefix.c", Compiler::Gcc, arguments).truth.sites.len(), 4);
    }
    assert_eq!(runs("new_delete.cpp", Compiler::Gxx, &[]).truth.sites.len(), 3);
    assert_eq!(runs("leak.rs", Compiler::Rustc, &[]).truth.sites.len(), 4);
    runs("static_stripped.c", Compiler::Static, &[]);
    let bench = runs("bench_pairs.c", Compiler::Gcc, &["2", "1000"]);
    assert_eq!(bench.truth.number("pairs"), Some(1000));
}

#[test]
fn churn_makes_a_million_pairs_and_two_leaks() {
    let program = runs("churn.c", Compiler::Gcc, &[]);
    let [(_, pairs), (_, small), (_, large)] = program.truth.sites[..] else { panic!("three sites") };
    assert_eq!((pairs.allocs, pairs.live_bytes), (1_000_000, 0));
    assert_eq!((small.live_blocks, small.live_bytes), (1_000, 24_000));
    assert_eq!((large.live_blocks, large.live_bytes), (200, 4 * (50_000 + 49 * 50 / 2)));
}

#[test]
fn a_program_maps_its_own_libc_and_no_other() {
    let program = Program::c("family.c").unwrap();
    let maps = program.maps().unwrap();
    let libc: Vec<&str> = maps.lines().filter(|line| line.contains("libc.so")).collect();
    assert!(!libc.is_empty(), "{maps}");
    let own = program.libs.file("libc.so.6");
    assert!(libc.iter().all(|line| line.ends_with(own.to_str().unwrap())), "{libc:?}");
    let inode = own.metadata().unwrap().ino();
    assert!(libc[0].split_whitespace().any(|field| field == inode.to_string()), "{libc:?}");
    // The program stays its own executable: it is not started through the loader.
    let executable = std::fs::read_link(format!("/proc/{}/exe", program.pid())).unwrap();
    assert!(executable.ends_with("family.gcc"), "{}", executable.display());
}

#[test]
fn a_steady_program_ends_with_nothing_wrong() {
    let mut program = Program::c("steady.c").unwrap();
    program.begin().unwrap();
    program.begin().unwrap();
    program.finish().unwrap();
    assert_eq!(program.truth.number("wrong"), Some(0));
    program.end().unwrap();
}

#[test]
fn a_dropped_program_is_ended() {
    let program = Program::c("family.c").unwrap();
    let folder = format!("/proc/{}", program.pid());
    assert!(Path::new(&folder).exists());
    drop(program);
    assert!(!Path::new(&folder).exists());
}

#[test]
fn a_missing_library_says_its_name() {
    let error = PrivateLibs::copy(&["libnot-there.so.9"]).err().unwrap();
    assert!(error.to_string().contains("libnot-there.so.9"), "{error}");
}

#[test]
fn an_agent_is_waited_for_ended_by_ctrl_c_and_its_report_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("fake");
    // Its first argument is `--json`, its second the file. A shell cannot catch a signal that it was started to
    // ignore, as whatever runs in the background of a script is.
    let script = r#"#!/usr/bin/env -S --default-signal=INT sh
trap 'echo "{\"schema\":\"leaktrace-report\",\"version\":2,\"processes\":[],\"totals\":{\"live_bytes\":5,\"live_blocks\":1,\"allocs\":1,\"alloc_bytes\":5,\"frees\":0,\"freed_bytes\":0},\"frames\":[],\"stacks\":[],\"coverage\":{\"events_seen\":1,\"lost\":0,\"counters\":{},\"stacks\":0,\"stacks_incomplete\":0,\"addresses\":0,\"addresses_unknown\":0}}" > "$2"; exit 0' INT
echo "a word before" >&2
echo "attached to nothing: this is a fake" >&2
while :; do sleep 0.05; done
"#;
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = Agent::attach_with(&fake, &[1], &[]).unwrap().stop().unwrap();
    assert_eq!(report.totals.live_bytes, 5);
}
