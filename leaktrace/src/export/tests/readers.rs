//! Files opened by programs that we did not write. Where one of them is not there its test says so, and fails where
//! `.ci/run` has installed it.
//!
//! Pictures of what a browser shows are left in `target/exports/`.

mod browser;
mod chromium;
mod go;
mod schemas;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    report::{Exporter, Report},
    skip,
};

/// A fresh folder; removed by the drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leaktrace-exports-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, exporter: &dyn Exporter, report: &Report) -> PathBuf {
        let mut bytes = Vec::new();
        exporter.write(report, &mut bytes).unwrap();
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cargo's, found from the test program in `target/debug/deps`.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// The script that flame graphs began with, where `.ci/run` unpacks it.
fn flamegraph_pl() -> Option<PathBuf> {
    let script = target().join("flamegraph.pl/usr/share/perl5/Devel/NYTProf/flamegraph.pl");
    if script.exists() {
        return Some(script);
    }
    skip::skip(
        "flamegraph.pl",
        "flamegraph.pl is not there: Debian's libdevel-nytprof-perl, unpacked in target/flamegraph.pl",
    );
    None
}

/// The npm package, where `.ci/run` unpacks it.
fn speedscope() -> Option<PathBuf> {
    let folder = target().join("speedscope/dist/release");
    if folder.join("index.html").exists() {
        return Some(folder);
    }
    skip::skip("speedscope", "speedscope is not there: npm pack speedscope, unpacked in target/speedscope");
    None
}

fn is_there(program: &str, flag: &str) -> bool {
    let there = Command::new(program).arg(flag).output().is_ok_and(|output| output.status.success());
    if !there {
        skip::skip("tools", &format!("there is no {program}"));
    }
    there
}

fn says(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{error}");
    out.into_owned()
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}
