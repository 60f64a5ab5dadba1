//! The programs whose stacks are compared.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use tests_unwind::programs;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) command: Vec<String>,
    pub(crate) every: u32,
    /// The process's own unwinder ends at code without tables (JIT), where ours goes on.
    pub(crate) ours_may_be_longer: bool,
}

/// And the names of those whose programs are not here.
pub(crate) fn cases() -> Result<(Vec<Case>, Vec<&'static str>)> {
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

pub(crate) fn said(command: &[&str]) -> Result<String> {
    let output = Command::new(command[0]).args(&command[1..]).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
