//! Builds what is tested: the kernel side's object with its test programs, and the programs of `testprogs/unwind`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the built programs are put.
fn output() -> Result<PathBuf> {
    let path = root().join("target/testprogs-unwind");
    std::fs::create_dir_all(&path)?;
    Ok(path.canonicalize()?)
}

/// The kernel side's object with the feature `truth`, or the one that `LEAKTRACE_TRUTH_OBJECT` names.
pub fn object() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LEAKTRACE_TRUTH_OBJECT") {
        return Ok(path.into());
    }
    let target = output()?.join("ebpf");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--features", "truth", "--target-dir"])
        .arg(&target)
        .current_dir(root().join("leaktrace-ebpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Flags for this test's own target are not for the kernel's.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(target.join("bpfel-unknown-none/release/leaktrace"))
}

/// Compiles a source of `testprogs/unwind`, without frame pointers as distributions do.
pub fn build(source: &str, more: &[&str]) -> Result<PathBuf> {
    build_as(source, source, more)
}

/// The same under another name.
pub fn build_as(source: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
    let path = root().join("testprogs/unwind").join(source);
    let built = output()?.join(name).with_extension(if more.contains(&"-shared") { "so" } else { "bin" });
    let extension = path.extension().and_then(|extension| extension.to_str());
    let mut command = match extension {
        Some("rs") => {
            let mut command = Command::new("rustc");
            command.args(["--edition", "2024", "-O"]);
            command
        }
        Some("cpp") => Command::new("g++"),
        _ => Command::new("gcc"),
    };
    if extension != Some("rs") {
        command.args(["-O2", "-fomit-frame-pointer", "-pthread"]);
    }
    run(command.arg(&path).arg("-o").arg(&built).args(more))?;
    Ok(built)
}

/// The executable that `name` starts, where there is one.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).find_map(|folder| folder.join(name).canonicalize().ok())
}

/// A node to test: the newest of those that `.ci/run` fetched, or the machine's own.
#[must_use]
pub fn node() -> Option<PathBuf> {
    let fetched = [26, 24, 22, 20].map(|major| root().join(format!("target/node/{major}/bin/node")));
    fetched.into_iter().find(|node| node.exists()).or_else(|| installed("node"))?.canonicalize().ok()
}

/// Whether what a test needs has to be there, as `.ci/run` says.
#[must_use]
pub fn may_not_skip() -> bool {
    tests_kernel::skip::is_expected("tools")
}

/// A source that is run by an interpreter.
#[must_use]
pub fn script(source: &str) -> String {
    root().join("testprogs/unwind").join(source).display().to_string()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
