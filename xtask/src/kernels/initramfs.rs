//! The machine's root: busybox, leaktrace, the programs, the libraries of all, and what to do with them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use tests_kernel::compile::{Compiler, compiled};

use super::{Case, Way};
use crate::command::{answer, run};

const INIT: &str = include_str!("init.sh");

/// Makes it anew, as the programs may have changed.
pub(crate) fn build(folder: &Path, busybox: &Path, agent: &Path, cases: &[Case]) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot clear {}", root.display()))?;
    }
    for inner in ["bin", "dev", "proc", "sys", "programs"] {
        fs::create_dir_all(root.join(inner))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    executable(&root.join("init"), INIT)?;
    fs::write(root.join("cases"), cases.iter().map(Case::line).collect::<String>())?;

    // All of it lies in the machine's memory: debug information would be most of it.
    run(Command::new("strip").args(["--strip-debug", "-o"]).args([&root.join("leaktrace"), agent]))?;
    let mut libraries = libraries(agent)?;
    for case in cases {
        let program = compiled(case.source, Compiler::Gcc)?;
        libraries.append(&mut self::libraries(&program)?);
        fs::copy(program, root.join("programs").join(case.program()))?;
    }
    for library in libraries {
        let to = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(to.parent().context("a library is in a folder")?)?;
        fs::copy(&library, to).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    pack(folder, busybox, &root)
}

impl Case {
    /// Its call in `init.sh`.
    fn line(&self) -> String {
        let way = match self.way {
            Way::Launched => "launched",
            Way::Attached => "attached",
            Way::InWindows => "in_windows",
        };
        format!("{way} {} {} {}\n", self.name, self.program(), self.flags)
    }

    fn program(&self) -> &'static str {
        self.source.trim_end_matches(".c")
    }
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// The loader and libraries, where the program looks for them.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listed = answer(Command::new("ldd").arg(program))
        .with_context(|| format!("ldd cannot list the libraries of {}", program.display()))?;
    if listed.contains("not found") {
        bail!("{} lacks libraries:\n{listed}", program.display());
    }
    // "name => /path (address)" or "/path (address)".
    let words = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).collect())
}

/// The kernel takes the archive as it is; packing it more would cost the emulated machine more than it saves.
fn pack(folder: &Path, busybox: &Path, root: &Path) -> Result<PathBuf> {
    let archive = folder.join("initramfs.cpio");
    let find = Command::new(busybox).arg("find").current_dir(root).stdout(Stdio::piped()).spawn();
    let mut find = find.context("cannot start busybox, which makes the initramfs")?;
    let names = find.stdout.take().context("no pipe")?;
    let mut cpio = Command::new(busybox);
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(root).stdin(names).stdout(File::create(&archive)?);
    run(cpio.stderr(Stdio::null()))?;
    if !find.wait()?.success() {
        bail!("busybox could not list {}", root.display());
    }
    Ok(archive)
}
