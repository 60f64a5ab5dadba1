//! Other tools, as their own manuals have them used: those that start the program, and those that attach to it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tests_kernel::{
    Program,
    compile::{Compiler, compiled},
    private_libs::PrivateLibs,
};

use crate::command::answer;

/// bcc compiles its programs first.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Peer {
    pub(super) label: &'static str,
    /// The program that is run, and what comes before the traced one's name or pid.
    command: &'static [&'static str],
    /// What it says once it is attached; none where it starts the program.
    attached: Option<&'static str>,
}

const PEERS: [Peer; 3] = [
    Peer {
        label: "heaptrack --record-only",
        command: &["heaptrack", "--record-only", "--output", "heaptrack-bench"],
        attached: None,
    },
    Peer {
        label: "valgrind --tool=dhat",
        command: &["valgrind", "--quiet", "--tool=dhat", "--dhat-out-file=/dev/null"],
        attached: None,
    },
    Peer { label: "bcc memleak", command: &["memleak-bpfcc", "-p"], attached: Some("Attaching to pid") },
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
        if answer(Command::new("which").arg(name)).is_none() {
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

    /// Has the program do its work, attached to it if it is such a tool.
    pub(super) fn around(&self, program: &mut Program) -> Result<()> {
        let Some(attached) = self.attached else { return program.work() };
        let mut tool = self.attach(program.pid(), attached)?;
        let worked = program.work();
        // It is a tool of ours to end, and what it would report is not looked at.
        tool.kill().and_then(|()| tool.wait()).context("ending it")?;
        worked
    }

    fn attach(&self, pid: u32, attached: &'static str) -> Result<Child> {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).arg(pid.to_string()).args(["3600", "1"]);
        command
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut tool = command.spawn().context("starting it")?;
        let lines = BufReader::new(tool.stdout.take().context("its output")?).lines();
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains(attached) {
                    let _ = say.send(());
                }
            }
        });
        if hear.recv_timeout(PATIENCE).is_err() {
            let _ = tool.kill();
            let _ = tool.wait();
            bail!("it ends before it attaches (bcc needs the kernel's headers)");
        }
        Ok(tool)
    }
}

/// Tools write beside the program, whatever they are told.
fn folder(executable: &Path) -> Result<&Path> {
    executable.parent().context("a program lies in a folder")
}
