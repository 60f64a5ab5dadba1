//! Starts a program that waits before its `exec`, so that probes stand before its first instruction.

#![allow(unsafe_code, reason = "pre_exec: code between fork and exec")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "what runs there is unsafe as a whole")]

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    num::NonZeroU32,
    os::fd::AsRawFd as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
    thread::{self, JoinHandle},
};

use thiserror::Error;

/// A program could not be started.
#[derive(Debug, Error)]
#[error("cannot start {program}: {source}\nCheck the name and that it is executable")]
pub struct LaunchError {
    program: String,
    source: io::Error,
}

/// A child that waits. Dropped without [`Waiting::start`] it ends without having run anything.
#[derive(Debug)]
pub struct Waiting {
    pub pid: NonZeroU32,
    program: String,
    gate: io::PipeWriter,
    /// `spawn` returns only after the exec, so it runs beside.
    spawned: JoinHandle<io::Result<Child>>,
}

/// Forks.
pub fn launch(command: &[OsString]) -> Result<Waiting, LaunchError> {
    let program = command.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let failed = |source| LaunchError { program: program.clone(), source };
    let (mut told_pid, mut tell_pid) = io::pipe().map_err(failed)?;
    let (mut wait, gate) = io::pipe().map_err(failed)?;
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]);
    let inherited_gate = gate.as_raw_fd();
    // SAFETY: the closure runs in the forked child, only closes, writes and reads descriptors and allocates
    // nothing. The gate is closed there because the child would otherwise keep it open for itself and never
    // see leaktrace's end.
    unsafe {
        child.pre_exec(move || {
            libc::close(inherited_gate);
            tell_pid.write_all(&std::process::id().to_ne_bytes())?;
            let mut go = [0];
            match wait.read(&mut go)? {
                1 => Ok(()),
                // leaktrace gave up or is gone: what was never started is not started half-traced. Nobody is left
                // to hear of an error either.
                _ => libc::_exit(127),
            }
        });
    }
    let spawned = thread::Builder::new().spawn(move || child.spawn()).map_err(failed)?;
    let mut pid = [0; 4];
    if told_pid.read_exact(&mut pid).is_err() {
        let error = spawned.join().map_or_else(
            |_| io::ErrorKind::Other.into(),
            |spawned| spawned.err().unwrap_or_else(|| io::ErrorKind::Other.into()),
        );
        return Err(failed(error));
    }
    let pid = NonZeroU32::new(u32::from_ne_bytes(pid)).ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
    Ok(Waiting { pid, program, gate, spawned })
}

impl Waiting {
    /// Lets the program run.
    pub fn start(mut self) -> Result<Child, LaunchError> {
        let result = self.gate.write_all(&[1]).and_then(|()| {
            self.spawned.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        });
        result.map_err(|source| LaunchError { program: self.program, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launched_program_runs_only_after_it_is_let_go() {
        let marker = std::env::temp_dir().join(format!("leaktrace-launch-{}", std::process::id()));
        let waiting = launch(&["touch".into(), marker.clone().into_os_string()]).unwrap();
        assert_ne!(waiting.pid.get(), std::process::id());
        assert!(!marker.exists());
        let status = waiting.start().unwrap().wait().unwrap();
        assert!(status.success() && marker.exists());
        std::fs::remove_file(marker).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let waiting = launch(&["/no/such/program".into()]).unwrap();
        let message = waiting.start().unwrap_err().to_string();
        assert!(message.contains("/no/such/program"), "{message}");
    }
}
