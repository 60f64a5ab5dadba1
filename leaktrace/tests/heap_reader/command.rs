//! `leaktrace census` as a user runs it.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
};

use crate::{
    program::{Folder, Program},
    skip::skip,
};

const LEAKTRACE: &str = env!("CARGO_BIN_EXE_leaktrace");

/// Ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn census(arguments: &[&str]) -> Output {
    Command::new(LEAKTRACE).arg("census").args(arguments).output().unwrap()
}

#[test]
fn what_grows_between_looks_is_named_first() {
    // Keeps 16 KiB more every 2 ms.
    let program = Command::new(LEAKTRACE).arg("demo-program").stdout(Stdio::null()).spawn().unwrap();
    let program = Ended(program);
    let folder = Folder::new();
    let json = folder.0.join("census.json");
    let pid = program.0.id().to_string();
    let options = ["--pid", &pid, "--every", "1s", "--times", "3", "--json", json.to_str().unwrap()];
    let output = census(&options);
    let (text, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(text.lines().any(|line| line.starts_with("  +") && line.ends_with("grew in 2 of 2")), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let growing = &report["growing"][0];
    assert!(
        growing["from"].as_u64().unwrap() <= 16_400 && 16_400 <= growing["to"].as_u64().unwrap(),
        "{growing}"
    );
    assert_eq!((&report["looks"], &growing["looks"]), (&3.into(), &2.into()));
}

#[test]
fn a_stopped_program_is_read_and_does_not_grow() {
    let Some(program) = Program::start(&[], 2, 1000, "still") else { return };
    program.stop();
    let folder = Folder::new();
    let json = folder.0.join("census.json");
    let pid = program.pid().to_string();
    let options = ["--pid", &pid, "--every", "100ms", "--times", "2", "--json", json.to_str().unwrap()];
    assert_eq!(census(&options).status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(report["growing"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["first"]["in_use"], report["last"]["in_use"]);
}

#[test]
fn exit_codes_are_those_of_every_other_run() {
    let code = |arguments: &[&str]| census(arguments).status.code();
    assert_eq!(code(&["--pid", "0"]), Some(2));
    assert_eq!(code(&["--pid", "1073741823"]), Some(3));
    let folder = Folder::new();
    let nowhere = folder.0.join("no/such/folder.json");
    assert_eq!(code(&["--pid", "1", "--json", nowhere.to_str().unwrap()]), Some(2));
    // A program without any libc.
    let source = folder.0.join("bare.c");
    let executable = folder.0.join("bare");
    let text = "void _start(void) { for (;;) __asm__ volatile(\"syscall\" :: \"a\"(34) : \"rcx\", \"r11\", \"memory\"); }";
    fs::write(&source, text).unwrap();
    let status =
        Command::new("gcc").args(["-nostdlib", "-static", "-o"]).arg(&executable).arg(&source).status();
    if !status.is_ok_and(|status| status.success()) {
        skip("gcc", "there is no gcc");
        return;
    }
    let bare = Ended(Command::new(&executable).spawn().unwrap());
    let output = census(&["--pid", &bare.0.id().to_string()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no glibc in process"));
}
