//! Reports one after another, a line of JSON each (`--stream`): other programs read them while leaktrace traces.

use super::{
    Failure,
    output::{Output, OutputError, to_stdout},
};
use crate::{
    cli,
    report::{Exporter as _, Json, Report},
};

/// Where they go.
pub(super) enum Lines {
    Stdout,
    File {
        output: Output,
        /// The first error, which was said.
        failed: Option<OutputError>,
    },
}

impl Lines {
    /// Opens or makes the file; what is in it stays until tracing begins.
    pub(super) fn open(lines: &cli::Lines) -> Result<Self, OutputError> {
        match lines {
            cli::Lines::Stdout => Ok(Self::Stdout),
            cli::Lines::File(path) => Output::open(path).map(|output| Self::File { output, failed: None }),
        }
    }

    /// What the file held is gone.
    pub(super) fn begin(&mut self) {
        if let Self::File { output, .. } = self {
            output.empty();
        }
    }

    /// Adds a line. A file that cannot be written is no reason to stop: it is said once, and the next line is tried.
    ///
    /// # Errors
    /// Those of stdout, unless its reader went away.
    pub(super) fn add(&mut self, report: &Report) -> Result<(), Failure> {
        match self {
            Self::Stdout => to_stdout(|out| Json.write(report, out))
                .map_err(|source| Failure::Io { doing: "printing the report", source }),
            Self::File { output, failed } => {
                if let Err(error) = output.add(|out| Json.write(report, out))
                    && failed.is_none()
                {
                    crate::say!("{error}\nTracing goes on");
                    *failed = Some(error);
                }
                Ok(())
            }
        }
    }

    /// Whether every line was written.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Stdout | Self::File { failed: None, .. } => Ok(()),
            Self::File { failed: Some(error), .. } => Err(error.into()),
        }
    }
}
