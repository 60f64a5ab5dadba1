//! Programs whose heap is not glibc's, or not as glibc has it.

use std::{fs, path::Path, process::Command};

use leaktrace::heap_reader::{HeapReader, Refused};

use crate::{
    PAGE,
    program::{Folder, Program, compiled},
    skip::skip,
};

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// The program of the truth, with the environment that makes it another.
fn refused(folder: Folder, variable: &str, value: &Path) -> Option<(u32, Refused)> {
    let executable = compiled(&folder, "heap_truth.c", &[])?;
    let mut command = Command::new(executable);
    command.env(variable, value);
    let program = Program::run(folder, command, 2, 1000, "still");
    let pid = program.pid();
    Some((pid, HeapReader::open(pid, PAGE).expect_err("it is refused")))
}

/// A folder with a libc whose banner says something else.
fn libc_that_says(version: &str) -> Option<Folder> {
    let folder = Folder::new();
    let Ok(mut bytes) = fs::read(LIBC) else {
        skip(LIBC, &format!("there is no {LIBC}"));
        return None;
    };
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let banner = find(&bytes, b"GNU C Library ").unwrap();
    let at = banner + find(&bytes[banner..], b" release version ").unwrap() + b" release version ".len();
    bytes[at..at + version.len()].copy_from_slice(version.as_bytes());
    fs::write(folder.0.join("libc.so.6"), bytes).unwrap();
    Some(folder)
}

#[test]
fn another_allocator_in_glibc_s_place_is_refused_by_its_file() {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2");
    if !library.exists() {
        skip("libjemalloc", &format!("there is no {}", library.display()));
        return;
    }
    let Some((pid, error)) = refused(Folder::new(), "LD_PRELOAD", library) else { return };
    assert!(matches!(error, Refused::OtherAllocator { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("libjemalloc.so.2") && text.contains(&format!("--pid {pid}")), "{text}");
}

#[test]
fn a_glibc_that_nobody_has_read_is_refused_by_its_version() {
    let Some(libs) = libc_that_says("2.99") else { return };
    let Some((_, error)) = refused(Folder::new(), "LD_LIBRARY_PATH", &libs.0) else { return };
    assert!(matches!(error, Refused::UnknownVersion { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("2.99") && text.contains("2.26 to 2.43"), "{text}");
}

#[test]
fn a_glibc_whose_books_are_not_as_its_version_has_them_is_refused_with_what_did_not_fit() {
    // In 2.26 the arena has a field less.
    let Some(libs) = libc_that_says("2.26") else { return };
    let Some((_, error)) = refused(Folder::new(), "LD_LIBRARY_PATH", &libs.0) else { return };
    assert!(matches!(error, Refused::Misfit { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("not as glibc 2.26 has it") && text.contains("ring of arenas"), "{text}");
}

#[test]
fn a_program_of_musl_is_refused_as_such() {
    let folder = Folder::new();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testprogs");
    let executable = folder.0.join("program");
    let mut command = Command::new("musl-gcc");
    command.args(["-O1", "-w", "-I"]).arg(&programs).arg("-o").arg(&executable);
    let made = command.arg(programs.join("churn.c")).status().is_ok_and(|status| status.success());
    if !made {
        skip("musl-gcc", "there is no musl-gcc");
        return;
    }
    let program = Program::run(folder, Command::new(executable), 2, 1000, "still");
    let error = HeapReader::open(program.pid(), PAGE).expect_err("it is refused");
    assert!(matches!(error, Refused::Musl { .. }), "{error}");
}
