//! leaktrace, as a person would start and stop it.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    child::{PATIENCE, Process},
    report::Report,
    target,
};

/// A leaktrace that has attached.
pub struct Agent {
    process: Process,
    folder: TempDir,
}

/// How a leaktrace that was not expected to attach ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// `LEAKTRACE_BIN`, else the binary that cargo built beside the tests.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("LEAKTRACE_BIN").map_or_else(|| target().join("debug/leaktrace"), PathBuf::from)
}

impl Agent {
    /// Attaches to these processes; returns when every probe is in place.
    pub fn attach(pids: &[u32], flags: &[&str]) -> Result<Self> {
        Self::attach_with(&binary(), pids, flags)
    }

    /// The same with another leaktrace. Each allocation is followed unless a budget is asked for.
    pub fn attach_with(binary: &Path, pids: &[u32], flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        if !["--budget", "--exact"].iter().any(|flag| flags.contains(flag)) {
            command.arg("--exact");
        }
        Self::start(command.args(flags))
    }

    /// Any command line of leaktrace, which has to attach.
    pub fn start(command: &mut Command) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("leaktrace-report-").tempdir()?;
        // What follows `--` is the traced command's, so the report's flags go in front of all others.
        let given: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut whole = Command::new(command.get_program());
        whole.arg("--json").arg(folder.path().join("report.json")).arg("--quiet").args(given);
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        whole.envs(set);
        let mut process = Process::start(&mut whole)?;
        loop {
            match process.stderr.next(PATIENCE)? {
                Some(line) if line.starts_with("attached") => return Ok(Self { process, folder }),
                Some(_) => {}
                None => {
                    let status = process.wait(PATIENCE)?;
                    bail!("leaktrace ended before it attached ({status}):\n{}", process.stderr.text());
                }
            }
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    #[must_use]
    pub fn report_path(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    /// SIGUSR1: what is live now is compared with later; returns once it was noted.
    pub fn mark(&mut self) -> Result<()> {
        self.process.signal(Signal::USR1)?;
        loop {
            match self.process.stderr.next(PATIENCE)? {
                Some(line) if line.starts_with("marked") => return Ok(()),
                Some(_) => {}
                None => bail!("leaktrace ended at a mark:\n{}", self.process.stderr.text()),
            }
        }
    }

    /// Ctrl-C to one that is to end with this code, and the report that it leaves.
    pub fn stop_with(mut self, code: i32) -> Result<Report> {
        self.process.signal(Signal::INT)?;
        let status = self.process.wait(PATIENCE)?;
        if status.code() != Some(code) {
            bail!("leaktrace ended with {status}, not {code}:\n{}", self.process.stderr.rest()?);
        }
        Report::read(&self.report_path())
    }

    /// Ctrl-C, and the report that it leaves.
    pub fn stop(mut self) -> Result<Report> {
        self.process.signal(Signal::INT)?;
        self.ended()
    }

    /// The same where the report is large and the machine busy.
    pub fn stop_within(mut self, patience: Duration) -> Result<Report> {
        self.process.signal(Signal::INT)?;
        self.ended_within(patience)
    }

    /// Stops it as a busy machine might, or lets it go on.
    pub fn hold(&mut self, hold: bool) -> Result<()> {
        self.process.signal(if hold { Signal::STOP } else { Signal::CONT })
    }

    /// The same with its exit code, for a test of that.
    pub fn stop_with_code(mut self) -> Result<(Report, Option<i32>)> {
        self.process.signal(Signal::INT)?;
        let status = self.process.wait(PATIENCE)?;
        Ok((Report::read(&self.report_path())?, status.code()))
    }

    /// The report of a leaktrace that ends by itself: `--duration`, or the target is gone.
    pub fn ended(&mut self) -> Result<Report> {
        self.ended_within(PATIENCE)
    }

    fn ended_within(&mut self, patience: Duration) -> Result<Report> {
        let status = self.process.wait(patience)?;
        if !status.success() {
            bail!("leaktrace failed ({status}):\n{}", self.process.stderr.rest()?);
        }
        Report::read(&self.report_path())
    }

    /// SIGKILL, which leaves it no chance to detach.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(PATIENCE)?;
        Ok(())
    }

    /// Everything on stderr, to its end.
    pub fn stderr(&mut self) -> Result<String> {
        self.process.stderr.rest()
    }
}

/// Runs leaktrace to its end.
pub fn run(arguments: &[&str]) -> Result<Ended> {
    run_command(Command::new(binary()).args(arguments), PATIENCE)
}

pub fn run_command(command: &mut Command, patience: Duration) -> Result<Ended> {
    let mut process = Process::start(command)?;
    // No terminal and nothing to read.
    process.stdin = None;
    let status = process.wait(patience)?;
    Ok(Ended { status, stdout: process.stdout.rest()?, stderr: process.stderr.rest()? })
}

/// A copy of the binary that every user may run, wherever the checkout is.
pub fn binary_for_all(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let all = std::fs::Permissions::from_mode(0o755);
    let copy = folder.join("leaktrace");
    std::fs::copy(binary(), &copy).with_context(|| format!("no {}", binary().display()))?;
    std::fs::set_permissions(folder, all.clone())?;
    std::fs::set_permissions(&copy, all)?;
    Ok(copy)
}
