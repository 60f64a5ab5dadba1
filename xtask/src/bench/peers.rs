//! Other tools, as their own manuals have them used: those that start the program, and those that attach to it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use tests_kernel::{
    Program,
    child::{PATIENCE, Process},
    compile::{Compiler, compiled},
    private_libs::PrivateLibs,
};

use crate::command::is_installed;

pub(super) struct Peer {
    pub(super) label: &'static str,
    /// The program that is run, and what comes before the traced one's name or pid.
    command: &'static [&'static str],
    /// What it says once it is attached; none where it starts the program.
    attached: Option<&'static str>,
}

/// What comes before the program's own command. What they write is not looked at.
pub(super) const HEAPTRACK: &[&str] = &["heaptrack", "--raw", "--output", "/dev/shm/leaktrace-bench"];
pub(super) const DHAT: &[&str] = &["valgrind", "--quiet", "--tool=dhat", "--dhat-out-file=/dev/null"];

const PEERS: [Peer; 3] = [
    Peer { label: "heaptrack --raw", command: HEAPTRACK, attached: None },
    Peer { label: "valgrind --tool=dhat", command: DHAT, attached: None },
    // What it says first, that it attaches, comes seconds before it does: its program is compiled in between.
    Peer {
        label: "bcc memleak",
        command: &["memleak-bpfcc", "-p"],
        attached: Some("outstanding allocations"),
    },
];

/// Those that are installed and run here, and why others are left out.
pub(super) fn on_this_machine() -> (Vec<&'static Peer>, Vec<String>) {
    const ALL: &[Peer] = &PEERS;
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for peer in ALL {
        match peer.runs() {
            Ok(()) => found.push(peer),
            Err(error) => left_out.push(format!("{}: {error:#}", peer.label)),
        }
    }
    (found, left_out)
}

impl Peer {
    fn runs(&self) -> Result<()> {
        let name = self.command[0];
        if !is_installed(name) {
            bail!("there is no {name}");
        }
        if self.attached.is_none() {
            return Ok(());
        }
        let mut program = Program::start("bench_pairs.c", Compiler::Gcc, &["1", "1000"])?;
        self.around(&mut program)
    }

    /// Starts the program under it, or alone for a tool that attaches.
    pub(super) fn start(&self, source: &str, arguments: &[&str]) -> Result<Program> {
        if self.attached.is_some() {
            return Program::start(source, Compiler::Gcc, arguments);
        }
        let [name, flags @ ..] = self.command else { bail!("a tool without a name") };
        let executable = compiled(source, Compiler::Gcc)?;
        let mut command = Command::new(name);
        command.args(flags).arg(&executable).args(arguments).current_dir(folder(&executable)?);
        Program::start_command(&mut command, PrivateLibs::copy(&[])?)
    }

    /// Has the program do its work, attached to it if it is such a tool; that ends with this, and what it would report is not
    /// looked at.
    pub(super) fn around(&self, program: &mut Program) -> Result<()> {
        let _tool = self.attached.map(|attached| self.attach(program.pid(), attached)).transpose()?;
        program.work()
    }

    fn attach(&self, pid: u32, attached: &str) -> Result<Process> {
        let mut command = Command::new(self.command[0]);
        command
            .args(&self.command[1..])
            .arg(pid.to_string())
            .args(["1", "3600"])
            .env("PYTHONUNBUFFERED", "1");
        let mut tool = Process::start(&mut command)?;
        while let Some(line) = tool.stdout.next(PATIENCE)? {
            if line.contains(attached) {
                return Ok(tool);
            }
        }
        let said = tool.stderr.rest()?;
        bail!("it ends before it attaches: {}", said.lines().next().unwrap_or_default())
    }
}

/// Tools write beside the program, whatever they are told.
fn folder(executable: &Path) -> Result<&Path> {
    executable.parent().context("a program lies in a folder")
}
