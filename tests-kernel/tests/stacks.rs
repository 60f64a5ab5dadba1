//! Stacks of code that runs before its unwind tables can be there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use tests_kernel::{
    Agent, Program,
    agent::binary,
    checkout,
    compile::{Compiler, compiled},
    needs_root,
    private_libs::PrivateLibs,
    report::{Frame, Report, Stack},
};

/// `testprogs/early.c` as distributions compile: without frame pointers.
fn early(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let output = folder.join(name);
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-g"]).args(flags);
    let status = gcc.arg("-o").arg(&output).arg(checkout().join("testprogs/early.c")).status().unwrap();
    assert!(status.success());
    output
}

/// The functions from the allocation outwards.
fn functions(stack: &Stack) -> Vec<&str> {
    stack.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

const FROM_LEAF: [&str; 5] = ["leaf", "deeper", "deeper", "deeper", "deeper"];

#[test]
fn a_program_that_ends_before_its_tables_are_there_has_whole_stacks() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let program = early(folder.path(), "early", &[]);
    let mut agent = Agent::start(Command::new(binary()).arg("--").arg(&program)).unwrap();
    let report = agent.ended().unwrap();
    for (site, allocs, callers) in [
        ("from_constructor", 20, &["from_constructor", "early"][..]),
        ("from_main", 30, &["from_main", "main"]),
    ] {
        let stacks: Vec<&Stack> = report.stacks_at(site).collect();
        let [stack] = stacks[..] else { panic!("{site} is not one stack:\n{}", report.overview()) };
        assert_eq!((stack.sums.allocs, stack.complete), (allocs, true));
        assert_eq!(functions(stack)[..7], [&FROM_LEAF[..], callers].concat());
        assert!(stack.frames.iter().any(|frame| frame.is("_start")), "{:?}", functions(stack));
    }
    assert_eq!(report.coverage.stacks_incomplete, 0, "{}", report.overview());
}

/// `opens.c` under leaktrace, which looks at nothing meanwhile if it `is_held_up`.
fn opened(libraries: &[PathBuf], rounds: &str, is_held_up: bool) -> Report {
    let mut arguments: Vec<&str> = vec![rounds];
    arguments.extend(libraries.iter().map(|library| library.to_str().unwrap()));
    let executable = compiled("opens.c", Compiler::Gcc).unwrap();
    let libs = PrivateLibs::copy(&[]).unwrap();
    let mut program = Program::start_file(&executable, &arguments, libs, &[]).unwrap();
    let mut agent = Agent::attach(&[program.pid()], &[]).unwrap();
    agent.hold(is_held_up).unwrap();
    program.work().unwrap();
    agent.hold(false).unwrap();
    let report = agent.stop().unwrap();
    program.end().unwrap();
    report
}

#[test]
fn a_library_that_allocates_as_it_is_opened_has_whole_stacks() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let library = early(folder.path(), "early.so", &["-DLIBRARY", "-shared", "-fPIC"]);
    let report = opened(&[library], "1", false);
    let stacks: Vec<&Stack> = report.stacks_at("from_constructor").collect();
    let [stack] = stacks[..] else { panic!("not one stack:\n{}", report.overview()) };
    assert_eq!((stack.sums.allocs, stack.complete), (20, true));
    assert_eq!(functions(stack)[..7], [&FROM_LEAF[..], &["from_constructor", "early"]].concat());
    assert!(stack.frames.iter().any(|frame| frame.is("main")), "{:?}", functions(stack));
}

/// Libraries of other frames at one address, one after the other, as many times as `rounds` says. Every complete stack has
/// to be right; returns the allocations that have one, by library, and all.
fn taking_each_others_place(rounds: &str, site: &str) -> (BTreeMap<String, u64>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let libraries = ["16", "200", "1000"].map(|frame| {
        let flag = format!("-DFRAME={frame}");
        early(folder.path(), &format!("early{frame}.so"), &["-DLIBRARY", "-shared", "-fPIC", &flag])
    });
    let report = opened(&libraries, rounds, false);
    // Their functions have the same names: whose they are the file tells.
    let file =
        |frame: &Frame| frame.module.as_deref().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let mut complete: BTreeMap<String, u64> = BTreeMap::new();
    for stack in report.stacks_at(site).filter(|stack| stack.complete) {
        let library = file(&stack.frames[0]).unwrap();
        *complete.entry(library.clone()).or_default() += stack.sums.allocs;
        let functions = functions(stack);
        assert_eq!(
            functions[..7],
            [
                &FROM_LEAF[..],
                if site == "from_call" { &["from_call", "work"] } else { &["from_constructor", "early"] }
            ]
            .concat(),
            "{functions:?}"
        );
        let files: Vec<_> = stack.frames[..7].iter().map(|frame| file(frame).unwrap()).collect();
        assert_eq!(files, vec![library; 7], "{functions:?}");
        assert!(stack.frames.iter().any(|frame| frame.is("main")), "{functions:?}");
    }
    assert_eq!(report.coverage.lost, 0);
    println!("with complete stacks: {complete:?}");
    (complete, report.at("leaf").allocs)
}

/// Within one look of the agent: whose frames a stack is of cannot be known then, and none may be finished by those of
/// another.
#[test]
fn libraries_that_take_each_others_place_at_once_have_right_stacks_or_marked_ones() {
    needs_root();
    let (_, all) = taking_each_others_place("200", "from_constructor");
    assert_eq!(all, 200 * 3 * 20);
}

/// With time for the agent to look before they allocate; a busy machine may not give it that each time.
#[test]
fn libraries_that_take_each_others_place_in_turn_have_whole_stacks() {
    needs_root();
    let (complete, all) = taking_each_others_place("10 200", "from_call");
    assert_eq!(all, 10 * 3 * 2 * 20);
    let names = ["early1000.so", "early16.so", "early200.so"];
    assert_eq!(complete.keys().collect::<Vec<_>>(), names);
    assert!(complete.values().all(|allocs| *allocs > 10 * 20 / 2), "{complete:?}");
}

/// Each call is a stack of its own until it is finished. What does not fit keeps its first frame, and its site.
#[test]
fn a_leaktrace_that_is_held_up_marks_the_stacks_that_it_cannot_finish_and_loses_none() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let library = early(folder.path(), "early.so", &["-DLIBRARY", "-DTIMES=20000", "-shared", "-fPIC"]);
    let report = opened(&[library], "1", true);
    assert_eq!(report.at("leaf").allocs, 20_000, "{}", report.overview());
    let whole = report.at("from_constructor").allocs;
    let cut = report.counter("StackUnfinished");
    assert!(whole > 100 && cut > 10_000, "{whole} whole, {cut} cut");
    assert_eq!(
        report.stacks_at("leaf").map(|stack| (stack.complete, stack.sums.allocs)).max(),
        Some((true, whole))
    );
    assert_eq!((report.counter("StackDelayed"), report.counter("StacksFull")), (0, 0));
    assert!(report.stacks.iter().all(|stack| !stack.frames.is_empty()), "{}", report.overview());
}

/// Every process has stacks of its own, and most of theirs have to be finished: all together are more than may be, an
/// eighth of all stacks, and can be as those that have ended give their share back.
#[test]
fn processes_that_ended_give_the_room_of_their_stacks_to_those_that_come() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let program = early(folder.path(), "early", &["-DTIMES=100"]);
    let script = format!("for i in $(seq 24); do {}; sleep 0.5; done", program.display());
    let mut command = Command::new(binary());
    command.args(["--follow", "--max-stacks", "4000", "--interval", "250ms", "--", "sh", "-c", &script]);
    let mut agent = Agent::start(&mut command).unwrap();
    let report = agent.ended().unwrap();
    assert_eq!(
        (report.at("leaf").allocs, report.counter("StacksFull")),
        (24 * 130, 0),
        "{}",
        report.overview()
    );
    let whole = report.stacks_at("from_constructor").filter(|stack| stack.complete);
    let whole: u64 = whole.map(|stack| stack.sums.allocs).sum();
    println!("{whole} of {} with whole stacks", 24 * 100);
    // 500 at a time. How many are late depends on how busy the machine is.
    assert!(whole > 2 * 4000 / 8, "{whole}: {:?}", report.coverage);
}
