//! `cargo xtask layers`: the laws of ARCHITECTURE.md, checked on the sources.
//!
//! It reads tokens, not types: a path is judged as it is written. Code under `#[cfg(test)]` is left out, since
//! tests may read files and clocks, and so are files of tests (`tests.rs`, `tests/`) for that law.

mod paths;
mod rules;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;

/// Files are split at about 400 lines.
const LONG: usize = 400;
const TOO_LONG: usize = 600;
const MEMBERS: [&str; 6] =
    ["leaktrace", "leaktrace-common", "leaktrace-ebpf", "tests-kernel", "xtask", "zoo"];

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let findings = check(checkout.root())?;
    for finding in &findings.warnings {
        eprintln!("warning: {finding}");
    }
    for finding in &findings.broken {
        eprintln!("error: {finding}");
    }
    if !findings.broken.is_empty() {
        bail!("{} places break the laws of ARCHITECTURE.md", findings.broken.len());
    }
    Ok(())
}

/// What was found, each with its place.
#[derive(Debug, Default)]
struct Findings {
    broken: Vec<String>,
    warnings: Vec<String>,
}

fn check(root: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    for member in MEMBERS {
        let mut files = Vec::new();
        gather(&root.join(member).join("src"), &mut files)?;
        gather(&root.join(member).join("tests"), &mut files)?;
        files.sort();
        for file in files {
            check_file(root, &file, &mut findings)?;
        }
    }
    let manifest = root.join("leaktrace-ebpf/Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    findings.broken.extend(rules::kernel_side_dependencies(&text)?);
    Ok(findings)
}

fn check_file(root: &Path, file: &Path, findings: &mut Findings) -> Result<()> {
    let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let lines = text.lines().count();
    if lines > TOO_LONG {
        findings.broken.push(format!("{name}: {lines} lines, more than {TOO_LONG}: split it"));
    } else if lines > LONG {
        findings.warnings.push(format!("{name}: {lines} lines, more than {LONG}: does it hold two things?"));
    }
    for (line, language) in examples(&text) {
        if !matches!(language, "text" | "ignore") {
            findings.broken.push(format!("{name}:{line}: an example that no test runs: make it a test"));
        }
    }
    for path in paths::of(&text).with_context(|| format!("cannot split {name} into tokens"))? {
        if let Some(law) = rules::broken_by(&name, &path.segments) {
            findings.broken.push(format!("{name}:{}: {}: {law}", path.line, path.segments.join("::")));
        }
    }
    Ok(())
}

/// Lines of blocks of code in documentation, and their languages. `cargo test --doc` is not a part of `cargo xtask test`: it
/// compiles for two minutes.
fn examples(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut is_within) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(comment) = line.strip_prefix("///").or(line.strip_prefix("//!")) else {
            is_within = false;
            continue;
        };
        let Some(language) = comment.trim_start().strip_prefix("```") else { continue };
        if !is_within {
            found.push((at + 1, language.trim_end()));
        }
        is_within = !is_within;
    }
    found
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "[dependencies]\naya-ebpf = \"1\"\nleaktrace-common = { path = \"../leaktrace-common\" }\n";

    fn tree(files: &[(&str, &str)]) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("leaktrace-ebpf/Cargo.toml", MANIFEST)].iter().chain(files) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(dir.path()).unwrap()
    }

    #[test]
    fn an_example_that_nothing_runs_is_found() {
        let text = "//! ```text\n//! a picture\n//! ```\n/// ```\n/// assert!(true);\n/// ```\nfn f() {}\n";
        let found = tree(&[("leaktrace/src/ledger/mod.rs", text)]);
        assert_eq!(found.broken.len(), 1, "{found:?}");
        assert!(found.broken[0].starts_with("leaktrace/src/ledger/mod.rs:4:"), "{found:?}");
    }

    #[test]
    fn a_tree_that_keeps_the_laws_has_no_findings() {
        let found = tree(&[
            ("leaktrace/src/main.rs", "use leaktrace::{cli, run}; fn main() { run::run(cli::parse()) }"),
            ("leaktrace/src/lib.rs", "pub mod cli; pub mod kernel; pub mod run;"),
            ("leaktrace/src/run.rs", "use crate::{cli::Plan, kernel::Session};"),
            ("leaktrace/src/kernel/mod.rs", "use aya::Ebpf; use super::Thing; use crate::kernel::maps;"),
            ("leaktrace/src/process/maps.rs", "use procfs::process::Process; use std::fs;"),
            ("leaktrace/src/ledger/mod.rs", "use std::time::Duration; // not std::fs or aya::Ebpf\n"),
        ]);
        assert!(found.broken.is_empty() && found.warnings.is_empty(), "{found:?}");
    }

    #[test]
    fn the_core_has_no_files_and_no_clock_however_they_are_written() {
        let found = tree(&[
            ("leaktrace/src/ledger/mod.rs", "use std::{collections::HashMap, fs::{self, File}};"),
            ("leaktrace/src/report.rs", "fn f() { println!(\"{:?}\", std::time::Instant::now()) }"),
            ("leaktrace/src/event/decode.rs", "use std::time::*;"),
            ("leaktrace/src/attribute/mod.rs", "use tokio::time;"),
            ("leaktrace/src/recording/reader.rs", "use std::{fs::File, io::Read};"),
        ]);
        assert_eq!(found.broken.len(), 6, "{found:?}");
        assert!(found.broken.iter().any(|finding| finding.starts_with("leaktrace/src/report.rs:1:")));
    }

    #[test]
    fn tests_of_the_core_may_read_files() {
        let found = tree(&[(
            "leaktrace/src/ledger/mod.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; fn g() { fs::read(\"x\"); } }",
        )]);
        assert!(found.broken.is_empty(), "{found:?}");
        let found = tree(&[
            ("leaktrace/src/export/tests/readers.rs", "use std::{fs, time::Instant};"),
            ("leaktrace/src/export/tests.rs", "use std::fs;"),
            ("leaktrace/src/export/page.rs", "use std::fs;"),
        ]);
        assert_eq!(found.broken.len(), 1, "{found:?}");
        assert!(found.broken[0].starts_with("leaktrace/src/export/page.rs:1:"));
    }

    #[test]
    fn only_kernel_names_aya_and_only_run_imports_kernel() {
        let found = tree(&[
            ("leaktrace/src/run.rs", "use aya::maps::MapData;"),
            ("leaktrace/src/symbolize/mod.rs", "use crate::{kernel::Session, process};"),
            ("leaktrace/src/report/text.rs", "use super::super::cli::Color;"),
            ("leaktrace/src/report/mod.rs", "use super::kernel;"),
        ]);
        assert_eq!(found.broken.len(), 4, "{found:?}");
    }

    #[test]
    fn the_kernel_side_depends_on_common_and_aya_alone() {
        let found = tree(&[(
            "leaktrace-ebpf/Cargo.toml",
            "[dependencies]\naya-ebpf = \"1\"\nlibc = \"0.2\"\n[target.'cfg(unix)'.dependencies]\nserde = \"1\"",
        )]);
        assert_eq!(found.broken.len(), 2, "{found:?}");
    }

    #[test]
    fn a_long_file_is_a_warning_and_a_very_long_one_an_error() {
        let found = tree(&[
            ("leaktrace/src/a.rs", &"\n".repeat(LONG + 1)),
            ("leaktrace/src/b.rs", &"\n".repeat(TOO_LONG + 1)),
        ]);
        assert_eq!((found.warnings.len(), found.broken.len()), (1, 1), "{found:?}");
    }
}
