//! A private copy of libc for each program, so that no other process of the machine maps the probed file.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Each library's file, as the dynamic linker's cache has it.
static INSTALLED: LazyLock<HashMap<String, PathBuf>> = LazyLock::new(|| {
    // Not on the PATH of every user.
    let output =
        ["ldconfig", "/sbin/ldconfig"].iter().find_map(|name| Command::new(name).arg("-p").output().ok());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut found = HashMap::new();
    for line in text.lines().filter(|line| line.contains("x86-64")) {
        if let Some((name, path)) = line.trim().split_once(" => ") {
            let name = name.split(' ').next().unwrap_or(name).to_owned();
            found.entry(name).or_insert_with(|| PathBuf::from(path));
        }
    }
    found
});

pub struct PrivateLibs {
    folder: TempDir,
}

impl PrivateLibs {
    /// libc and what else is named. The loader stays the system's: no allocator of it is probed, and the program
    /// remains its own `/proc/PID/exe`.
    pub fn copy(also: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("leaktrace-libs-").tempdir()?;
        for name in [&["libc.so.6"], also].concat() {
            let path =
                INSTALLED.get(name).with_context(|| format!("{name} is not installed (`.ci/run` does)"))?;
            fs::copy(path, folder.path().join(name))
                .with_context(|| format!("cannot copy {}", path.display()))?;
        }
        Ok(Self { folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
