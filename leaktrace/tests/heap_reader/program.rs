//! A program of `testprogs/` that is this test's child, and the truth that it tells.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::skip::skip;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leaktrace-heap-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the program says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) address: u64,
    pub(crate) usable: u64,
    pub(crate) state: u64,
    stamp: u64,
}

pub(crate) const LIVE: u64 = 1;
pub(crate) const FREED: u64 = 2;

pub(crate) struct Program {
    child: Child,
    /// It ends when nobody has this any more.
    _stdin: Option<ChildStdin>,
    table: PathBuf,
    _folder: Folder,
}

/// Compiles; none where there is no compiler for it.
pub(crate) fn compiled(folder: &Folder, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testprogs");
    let executable = folder.0.join("program");
    let mut command = Command::new("gcc");
    command.args(["-O1", "-w", "-pthread", "-I"]).arg(&programs).arg("-o").arg(&executable);
    let status = command.arg(programs.join(source)).args(flags).status();
    let made = status.is_ok_and(|status| status.success());
    if !made {
        skip("gcc", &format!("there is no gcc that builds {source} with {flags:?}"));
    }
    made.then_some(executable)
}

impl Program {
    /// The program of the truth, filled and waiting.
    pub(crate) fn start(flags: &[&str], threads: u32, blocks: u32, mode: &str) -> Option<Self> {
        let folder = Folder::new();
        let executable = compiled(&folder, "heap_truth.c", flags)?;
        let mut command = Command::new(executable);
        // Cargo's; a static program keeps a list of what is in it, in its heap.
        command.env_remove("LD_LIBRARY_PATH");
        Some(Self::run(folder, command, threads, blocks, mode))
    }

    /// The same, with the libc and the loader in a folder, which it is linked to as well: symbols have versions.
    pub(crate) fn with_libs(libs: &Path, threads: u32, blocks: u32, mode: &str) -> Option<Self> {
        let folder = Folder::new();
        let file = |name: &str| libs.join(name).to_string_lossy().into_owned();
        let (libc, threads_lib) = (file("libc.so.6"), file("libpthread.so.0"));
        let flags = ["-nodefaultlibs", &libc, &threads_lib, "-lgcc", "-Wl,--allow-shlib-undefined"];
        let executable = compiled(&folder, "heap_truth.c", &flags)?;
        let mut command = Command::new(file("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libs).arg(executable);
        Some(Self::run(folder, command, threads, blocks, mode))
    }

    pub(crate) fn run(folder: Folder, mut command: Command, threads: u32, blocks: u32, mode: &str) -> Self {
        let table = folder.0.join("table");
        command.arg(&table).args([threads.to_string(), blocks.to_string(), mode.to_owned()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready"), "{line:?}");
        let stdin = child.stdin.take();
        Self { child, _stdin: stdin, table, _folder: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it: nothing changes from here on.
    pub(crate) fn stop(&self) {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, libc::SIGSTOP) }, 0);
        let path = format!("/proc/{}/stat", self.pid());
        while !fs::read_to_string(&path).unwrap().contains(") T ") {
            std::thread::yield_now();
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let bytes = fs::read(&self.table).unwrap();
        let word = |row: &[u8; 32], at: usize| u64::from_ne_bytes(row[at..at + 8].try_into().unwrap());
        let rows = bytes.as_chunks::<32>().0.iter();
        rows.map(|row| Row {
            address: word(row, 0),
            usable: word(row, 8),
            state: word(row, 16),
            stamp: word(row, 24),
        })
        .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
