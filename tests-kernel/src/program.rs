//! A test program: started, let go, ended, in step with the test.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use rustix::process::setpriority_process;

use crate::{
    child::{PATIENCE, Process, raw},
    compile::{Compiler, compiled},
    private_libs::PrivateLibs,
    truth::Truth,
};

pub struct Program {
    process: Process,
    pid: u32,
    /// What it printed before it was ready.
    pub greeting: Vec<String>,
    pub truth: Truth,
    /// Lines that V8 wrote between its own, with `--trace-gc`.
    pub traces: Vec<String>,
    pub libs: PrivateLibs,
}

impl Program {
    /// Compiles and starts a program of `testprogs/`; returns when it waits to be let go.
    pub fn start(source: &str, compiler: Compiler, arguments: &[&str]) -> Result<Self> {
        let executable = compiled(source, compiler)?;
        Self::start_file(&executable, arguments, PrivateLibs::copy(&[])?, &[])
    }

    /// A C program, by gcc.
    pub fn c(source: &str) -> Result<Self> {
        Self::start(source, Compiler::Gcc, &[])
    }

    /// An executable that keeps the protocol. Of `libs`, those in `preload` come before all others.
    pub fn start_file(
        executable: &Path,
        arguments: &[&str],
        libs: PrivateLibs,
        preload: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(executable);
        command.args(arguments).env("LD_LIBRARY_PATH", libs.folder()).env_remove("LD_PRELOAD");
        if !preload.is_empty() {
            let files: Vec<String> =
                preload.iter().map(|name| libs.file(name).to_string_lossy().into_owned()).collect();
            command.env("LD_PRELOAD", files.join(":"));
        }
        Self::start_command(&mut command, libs)
    }

    pub fn start_command(command: &mut Command, libs: PrivateLibs) -> Result<Self> {
        let mut process = Process::start(command)?;
        let mut greeting = Vec::new();
        let pid = loop {
            let Some(line) = process.stdout.next(PATIENCE)? else {
                bail!("the program ended before it was ready:\n{}", process.stderr.rest()?);
            };
            if let Some(pid) = line.strip_prefix("ready ") {
                break pid.trim().parse().with_context(|| format!("not a pid: {line}"))?;
            }
            greeting.push(line);
        };
        Ok(Self { process, pid, greeting, truth: Truth::default(), traces: Vec::new(), libs })
    }

    /// As it says itself, which is not our child's where a script starts the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it go and waits until its work is done and its truth is told.
    pub fn work(&mut self) -> Result<()> {
        self.begin()?;
        self.finish()
    }

    /// Lets it go, for programs that work until they are told to stop.
    pub fn begin(&mut self) -> Result<()> {
        self.process.tell("\n")
    }

    /// Others go first where it keeps every core busy: its main thread, and those that are begun after.
    pub fn give_way(&self) -> Result<()> {
        setpriority_process(Some(raw(self.pid)?), 10).context("cannot change its priority")
    }

    /// Lets it take one step, for programs that tell a line after each.
    pub fn step(&mut self) -> Result<()> {
        self.begin()?;
        match self.process.stdout.next(PATIENCE)? {
            Some(line) => self.truth.read(&line),
            None => bail!("the program ended in a step:\n{}", self.process.stderr.rest()?),
        }
    }

    /// Tells one that works until it is told to stop, reads its truth and lets it end.
    pub fn stop(&mut self) -> Result<()> {
        self.begin()?;
        self.finish()?;
        self.end()
    }

    /// Reads its truth, to `done`.
    pub fn finish(&mut self) -> Result<()> {
        loop {
            let Some(line) = self.process.stdout.next(PATIENCE)? else {
                let status = self.process.wait(PATIENCE)?;
                bail!("the program ended in its work ({status}):\n{}", self.process.stderr.rest()?);
            };
            if line == "done" {
                return Ok(());
            }
            if line.starts_with('[') {
                self.traces.push(line);
            } else {
                self.truth.read(&line)?;
            }
        }
    }

    /// Lets it end, which has to be by exit code 0.
    pub fn end(&mut self) -> Result<()> {
        self.process.tell("\n")?;
        self.ended()
    }

    /// Waits for its end, which has to be by exit code 0.
    pub fn ended(&mut self) -> Result<()> {
        let status = self.process.wait(PATIENCE)?;
        if !status.success() {
            bail!("the program ended badly ({status}):\n{}", self.process.stderr.rest()?);
        }
        Ok(())
    }

    /// Text on its stdin, for programs with words of their own.
    pub fn tell(&mut self, text: &str) -> Result<()> {
        self.process.tell(text)
    }

    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Lines of its `/proc/PID/maps`.
    pub fn maps(&self) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/maps", self.pid)).context("the program is gone")
    }
}
