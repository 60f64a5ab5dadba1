//! Writes a recording as it happens.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    VERSION,
    line::{Header, Line},
};
use crate::event::{Event, Snapshot};

/// Each call writes whole lines; buffering and flushing are the writer's.
#[derive(Debug)]
pub struct Recorder<W> {
    out: W,
}

impl<W: Write> Recorder<W> {
    /// `page` is the size in bytes of the machine's pages.
    pub fn new(out: W, page: u64) -> io::Result<Self> {
        let mut recorder = Self { out };
        recorder.line(&Header { leaktrace_stream: VERSION, page })?;
        Ok(recorder)
    }

    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line(&Line::from(event))
    }

    pub fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.line(&Line::from(snapshot))
    }

    /// The writer, with everything in it.
    #[must_use]
    pub fn finish(self) -> W {
        self.out
    }

    fn line<L: Serialize>(&mut self, line: &L) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}
