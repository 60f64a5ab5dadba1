//! The stamp beside the checked-in BPF object: says which sources it came from.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::checkout::Checkout;

/// Folders are taken whole; all paths are relative to the checkout.
const SOURCES: [&str; 6] = [
    "leaktrace-common/Cargo.toml",
    "leaktrace-common/src",
    "leaktrace-ebpf/.cargo/config.toml",
    "leaktrace-ebpf/Cargo.lock",
    "leaktrace-ebpf/Cargo.toml",
    "leaktrace-ebpf/src",
];

/// SHA-256 sums in hexadecimal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Of the sources' names and contents.
    pub sources: String,
    /// Of the object, so that a stamp never vouches for another file.
    pub object: String,
}

impl Stamp {
    /// Of the sources as they are and the object at `object`.
    pub(crate) fn make(checkout: &Checkout, object: &Path) -> Result<Self> {
        let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        Ok(Self { sources: sum_of_sources(checkout)?, object: hex(&Sha256::digest(bytes)) })
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
        };
        match (field("sources"), field("object")) {
            (Some(sources), Some(object)) => Ok(Self { sources, object }),
            _ => bail!("{} is not a stamp: `cargo xtask bpf` writes a new one", path.display()),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sources {}\nobject {}", self.sources, self.object)
    }
}

fn sum_of_sources(checkout: &Checkout) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        gather(&checkout.path(source), &mut files)?;
    }
    // By path, so that the order in which a file system lists folders changes nothing.
    files.sort();
    let mut sum = Sha256::new();
    for file in files {
        let name = file.strip_prefix(checkout.root()).unwrap_or(&file).to_string_lossy().into_owned();
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // Lengths stand before what they measure: no two trees give the same stream.
        for part in [name.as_bytes(), &content] {
            sum.update((part.len() as u64).to_le_bytes());
            sum.update(part);
        }
    }
    Ok(hex(&sum.finalize()))
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        gather(&entry?.path(), files)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stamp");
        let stamp = Stamp { sources: "ab".into(), object: "cd".into() };
        fs::write(&path, stamp.to_string()).unwrap();
        assert_eq!(Stamp::read(&path).unwrap(), stamp);
    }

    #[test]
    fn a_file_that_is_no_stamp_says_how_to_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stamp");
        fs::write(&path, "half a line").unwrap();
        assert!(Stamp::read(&path).unwrap_err().to_string().contains("cargo xtask bpf"));
    }
}
