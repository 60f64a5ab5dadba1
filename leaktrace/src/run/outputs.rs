//! Everything that a trace leaves beside its text: files, lines, a recording. Each is tried, whatever becomes of the others.

use std::time::Instant;

use super::{Failure, lines::Lines, output::Exports, push::Push, recording::Recording};
use crate::{cli, report::Report};

pub(super) struct Outputs {
    exports: Exports,
    lines: Option<Lines>,
    pub(super) recording: Option<Recording>,
    pub(super) push: Option<Push>,
}

impl Outputs {
    pub(super) fn open(output: &cli::Output) -> Result<Self, Failure> {
        Ok(Self {
            exports: Exports::open(&output.exports)?,
            lines: output.lines.as_ref().map(Lines::open).transpose()?,
            recording: output.record.as_deref().map(Recording::open).transpose()?,
            push: output.push.as_ref().map(|(to, _)| Push::start(to)).transpose()?,
        })
    }

    /// Tracing begins: of what is added to, nothing older stays.
    pub(super) fn begin(&mut self) {
        self.lines.iter_mut().for_each(Lines::begin);
        self.recording.iter_mut().for_each(Recording::begin);
    }

    /// Whether one of them wants a report at this interval.
    pub(super) fn are_due(&self) -> bool {
        let is_recorded = self.recording.as_ref().is_some_and(Recording::is_due);
        self.lines.is_some() || is_recorded || self.exports.are_due()
    }

    /// What is known at an interval; `begun` is when making the report began.
    pub(super) fn write_so_far(&mut self, report: &Report, begun: Instant) -> Result<(), Failure> {
        // First, as somebody may wait for it.
        let added = self.lines.as_mut().map_or(Ok(()), |lines| lines.add(report));
        if let Some(recording) = self.recording.as_mut().filter(|recording| recording.is_due()) {
            recording.moment(report, begun, false);
        }
        if self.exports.are_due() {
            self.exports.write_so_far(report, begun);
        }
        added
    }

    /// The last report. The store is not told of it here: it may take its time.
    pub(super) fn end(self, report: &Report) -> Result<(), Failure> {
        let Self { mut exports, lines, recording, push: _ } = self;
        let written = exports.write(report).map_err(Failure::from);
        let added = lines.map_or(Ok(()), |mut lines| lines.add(report).and_then(|()| lines.end()));
        let recorded = recording.map_or(Ok(()), |mut recording| {
            recording.moment(report, Instant::now(), true);
            recording.end()
        });
        written.and(added).and(recorded)
    }
}
