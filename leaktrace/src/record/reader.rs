//! Reads a recording back as a [`Source`].

use std::io::{self, BufRead};

use thiserror::Error;

use super::{
    VERSION,
    line::{Header, Line, Read},
};
use crate::event::{Event, Progress, Snapshot, Source};

/// A line that cannot be read. Everything before it was read and stays good.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line} of the recording: {reason}")]
pub struct Broken {
    /// From 1.
    pub line: usize,
    pub reason: String,
}

/// A whole recording in memory. [`pull`](Source::pull) gives what lies before the next snapshot, which
/// [`snapshot`](Source::snapshot) then gives; at the end it repeats the last one.
#[derive(Debug)]
pub struct Recording {
    page: u64,
    reads: std::iter::Peekable<std::vec::IntoIter<Read>>,
    last: Snapshot,
    broken: Option<Broken>,
}

impl Recording {
    /// Reads up to the end or the first broken line, see [`broken`](Self::broken). An error is a file that
    /// is no recording of this version at all.
    pub fn read(input: impl BufRead) -> Result<Self, Broken> {
        let mut lines = input.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| broken(0, "the file is empty"))?;
        let first = first.map_err(|error| broken(0, error.to_string()))?;
        let header: Header = serde_json::from_str(&first).map_err(|error| broken(0, error.to_string()))?;
        if header.leaktrace_stream != VERSION {
            let version = header.leaktrace_stream;
            return Err(broken(0, format!("version {version}; this leaktrace reads {VERSION}")));
        }
        if !header.page.is_power_of_two() {
            return Err(broken(0, format!("page size {} is no power of two", header.page)));
        }
        let mut reads = Vec::new();
        let mut stopped = None;
        for (at, line) in lines {
            match parse(line) {
                Ok(read) => reads.push(read),
                Err(reason) => {
                    stopped = Some(broken(at, reason));
                    break;
                }
            }
        }
        let reads = reads.into_iter().peekable();
        Ok(Self { page: header.page, reads, last: Snapshot::default(), broken: stopped })
    }

    /// Size in bytes of the recorded machine's pages.
    #[must_use]
    pub const fn page(&self) -> u64 {
        self.page
    }

    /// Where reading stopped short of the end.
    #[must_use]
    pub const fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }
}

impl Source for Recording {
    fn pull(&mut self, out: &mut Vec<Event>) -> io::Result<Progress> {
        while let Some(Read::Event(event)) = self.reads.next_if(|read| matches!(read, Read::Event(_))) {
            out.push(event);
        }
        Ok(if self.reads.peek().is_some() { Progress::More } else { Progress::Ended })
    }

    fn snapshot(&mut self) -> io::Result<Snapshot> {
        if let Some(Read::Snapshot(snapshot)) = self.reads.next_if(|read| matches!(read, Read::Snapshot(_))) {
            self.last = *snapshot;
        }
        Ok(self.last.clone())
    }
}

fn parse(line: io::Result<String>) -> Result<Read, String> {
    let line = line.map_err(|error| error.to_string())?;
    let line: Line = serde_json::from_str(&line).map_err(|error| error.to_string())?;
    Read::try_from(line)
}

fn broken(index: usize, reason: impl Into<String>) -> Broken {
    Broken { line: index + 1, reason: reason.into() }
}
