//! A process that is ended when its value goes, and its lines as they come.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may be silent before a test gives it up. Nothing here is meant to take that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of a pipe, gathered by a thread so that a full pipe never stops the process.
pub struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { receiver, seen: Vec::new() }
    }

    /// The next line; none at the end.
    pub fn next(&mut self, patience: Duration) -> Result<Option<String>> {
        match self.receiver.recv_timeout(patience) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("no line within {patience:?}; until then:\n{}", self.text())
            }
        }
    }

    /// Every line so far and to come.
    pub fn rest(&mut self) -> Result<String> {
        while self.next(PATIENCE)?.is_some() {}
        Ok(self.text())
    }

    #[must_use]
    pub fn text(&self) -> String {
        self.seen.join("\n")
    }
}

pub struct Process {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tries = 0;
        let mut child = loop {
            match command.spawn() {
                // A file that was just written: a process that another test forked meanwhile has it open for
                // writing until its own exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < 100 => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                spawned => {
                    break spawned
                        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
                }
            }
        };
        let stdout = Lines::of(child.stdout.take().context("no stdout")?);
        let stderr = Lines::of(child.stderr.take().context("no stderr")?);
        Ok(Self { stdin: child.stdin.take(), stdout, stderr, child })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).context("the process reads no more")
    }

    /// To this very process, which is ours and not yet waited for, so the pid is no one else's.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(raw(self.pid())?, signal).with_context(|| format!("cannot signal {}", self.pid()))
    }

    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("process {} does not end; its stderr:\n{}", self.pid(), self.stderr.text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process's number as system calls take it.
pub(crate) fn raw(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("no pid")
}
