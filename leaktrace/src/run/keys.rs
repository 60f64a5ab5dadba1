//! Enter, on the terminal that leaktrace runs on, sets a mark.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::tcgetpgrp,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cli::Targets;

/// How soon a terminal that was another's is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// Lines typed, one `()` each. None where there is no terminal to type them on, or where it is the traced program's.
pub(super) fn lines(targets: &Targets) -> Option<UnboundedReceiver<()>> {
    if matches!(targets, Targets::Command(_)) || !io::stdin().is_terminal() {
        return None;
    }
    let (typed, heard) = unbounded_channel();
    // Reading waits for as long as nobody types, and ends with the process.
    let reading = thread::Builder::new().name("keys".to_owned()).spawn(move || {
        let (mut line, within) = (String::new(), Timespec::try_from(AGAIN).ok());
        loop {
            let stdin = io::stdin();
            // A process in the background that reads is stopped by the kernel, so that only who is in front does.
            if tcgetpgrp(&stdin).ok() != Some(getpgrp()) {
                thread::sleep(AGAIN);
                continue;
            }
            let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
            if !matches!(poll(&mut wanted, within.as_ref()), Ok(1..)) {
                continue;
            }
            line.clear();
            match stdin.lock().read_line(&mut line) {
                Ok(1..) if typed.send(()).is_ok() => {}
                // Ctrl-D, or the terminal is gone: no more marks from here.
                _ => return,
            }
        }
    });
    reading.ok().map(|_| heard)
}

/// The next line; never where none can be typed.
pub(super) async fn typed(lines: &mut Option<UnboundedReceiver<()>>) {
    if let Some(heard) = lines {
        if heard.recv().await.is_some() {
            return;
        }
        *lines = None;
    }
    std::future::pending::<()>().await;
}
