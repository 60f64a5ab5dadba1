//! Names of a process whose files are not where this machine's are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tests_kernel::{
    Agent, Program, assert_exact,
    compile::{Compiler, compiled},
    needs_root,
    private_libs::PrivateLibs,
    report::Report,
    trace,
};

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The loader and libraries of a program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// A root with `family.c` stripped, a libc of its own, and their names in debug files that only this root has.
struct Container {
    root: TempDir,
}

impl Container {
    fn new(debug: impl FnOnce(&Path, &Path) -> PathBuf) -> Self {
        let root = tempfile::tempdir().unwrap();
        let program = compiled("family.c", Compiler::Gcc).unwrap();
        for library in libraries(&program) {
            let to = root.path().join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&library, &to).unwrap();
        }
        fs::create_dir_all(root.path().join("app")).unwrap();
        let inside = root.path().join("app/family");
        // No exported names either, or those would do.
        run(Command::new("gcc")
            .args(["-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-builtin"])
            .args(["-std=gnu17", "-pthread", "-Wl,--build-id=sha1", "-o"])
            .args([&inside, &tests_kernel::checkout().join("testprogs/family.c")]));
        let place = debug(root.path(), &inside);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        run(Command::new("objcopy").arg("--only-keep-debug").args([&inside, &place]));
        let link = format!("--add-gnu-debuglink={}", place.display());
        run(Command::new("objcopy").args(["--strip-all", &link]).arg(&inside));
        Self { root }
    }

    /// In a mount namespace of its own.
    fn start(&self) -> Program {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(format!("--root={}", self.root.path().display())).arg("/app/family");
        Program::start_command(&mut command, PrivateLibs::copy(&[]).unwrap()).unwrap()
    }
}

fn build_id(file: &Path) -> String {
    let notes = Command::new("readelf").arg("-n").arg(file).output().unwrap().stdout;
    let notes = String::from_utf8(notes).unwrap();
    notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap().to_owned()
}

fn by_build_id(root: &Path, program: &Path) -> PathBuf {
    let id = build_id(program);
    root.join(format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]))
}

#[test]
fn a_process_of_another_root_is_named_by_that_roots_debug_files() {
    needs_root();
    let container = Container::new(by_build_id);
    let mut program = container.start();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
    let frame = report.stacks_at("site_malloc").next().unwrap().frames.first().unwrap();
    assert_eq!(frame.module.as_deref(), Some("/app/family"));
    assert!(frame.file.as_deref().is_some_and(|file| file.ends_with("family.c")), "{frame:?}");
}

#[test]
fn a_debug_link_is_followed_within_the_root_of_the_process() {
    needs_root();
    let container = Container::new(|root, _| root.join("app/.debug/family.debug"));
    let mut program = container.start();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
}

/// Followed from this machine's root, such a link would lead out of the container.
#[test]
fn an_absolute_link_to_a_debug_file_is_followed_within_the_root_of_the_process() {
    needs_root();
    let container = Container::new(|root, program| {
        let link = by_build_id(root, program);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/opt/symbols/family", link).unwrap();
        root.join("opt/symbols/family")
    });
    let mut program = container.start();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
}

#[test]
fn a_program_that_was_deleted_while_it_ran_has_its_names() {
    needs_root();
    let folder = tempfile::tempdir().unwrap();
    let executable = folder.path().join("family");
    fs::copy(compiled("family.c", Compiler::Gcc).unwrap(), &executable).unwrap();
    let libs = PrivateLibs::copy(&[]).unwrap();
    let mut program = Program::start_file(&executable, &[], libs, &[]).unwrap();
    fs::remove_file(&executable).unwrap();
    // Another program at its path must not lend it its names.
    fs::copy("/bin/true", &executable).unwrap();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
}

/// `jit.c` in a root and a pid namespace of its own, under leaktrace.
fn jit(kind: &str) -> (Report, Program) {
    let root = tempfile::tempdir().unwrap();
    for folder in ["app", "tmp"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let source = tests_kernel::checkout().join("testprogs/jit.c");
    let flags = ["-O1", "-g", "-static", "-fno-builtin", "-fno-optimize-sibling-calls", "-o"];
    run(Command::new("gcc").args(flags).arg(root.path().join("app/jit")).arg(source));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork"]).arg(format!("--root={}", root.path().display()));
    let libs = PrivateLibs::copy(&[]).unwrap();
    let mut program = Program::start_command(command.args(["/app/jit", kind]), libs).unwrap();
    assert_eq!(program.pid(), 1, "the pid that it knows itself by");
    let agent = Agent::attach(&[pid_in(root.path())], &[]).unwrap();
    program.work().unwrap();
    (agent.stop().unwrap(), program)
}

/// The pid, here, of the process whose root this is.
fn pid_in(root: &Path) -> u32 {
    let root = root.canonicalize().unwrap();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter()
        .find(|pid| fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|found| found == root))
        .unwrap()
}

#[test]
fn code_made_at_run_time_is_named_by_the_perf_map_of_its_own_root_and_pid() {
    needs_root();
    for kind in ["file", "link"] {
        let (report, mut program) = jit(kind);
        assert_eq!(report.at("code_made_at_run_time").allocs, 7, "{kind}: {}", report.overview());
        program.end().unwrap();
    }
}

#[test]
fn a_pipe_in_the_place_of_a_perf_map_holds_leaktrace_up_as_little_as_none() {
    needs_root();
    let (report, mut program) = jit("pipe");
    assert_eq!(report.at("allocate").allocs, 7, "{}", report.overview());
    assert_eq!(report.at("code_made_at_run_time").allocs, 0);
    program.end().unwrap();
}
