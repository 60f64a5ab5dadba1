//! Why a recording cannot be read, and what of one could not.

use std::{fmt, io};

use thiserror::Error;

use super::block::{HEADER, VERSION};

/// Nothing of it can be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is empty: nothing was recorded. Record with: leaktrace record --pid PID -o FILE")]
    Empty,
    #[error(
        "it is no recording of leaktrace's. Give a file that was recorded with: leaktrace record --pid PID -o FILE"
    )]
    Foreign,
    #[error(
        "its first {HEADER} bytes are damaged, so that nothing of it can be read. Take another copy, or record anew"
    )]
    Beginning,
    #[error(
        "it is of format {version}, and leaktrace {OWN} reads up to format {VERSION}. Read it with the leaktrace that \
         recorded it, or with a newer one"
    )]
    Newer { version: u32 },
    #[error(
        "it holds no whole moment{}. One is written at each epoch (--epoch, 30s unless given), at each --interval, and at \
         the end: record for longer", lost(*rest)
    )]
    NoMoment { rest: Rest },
    #[error(
        "{what} in it makes no sense, though its checksums are right: leaktrace {OWN} did not write it so. Read it with the \
         leaktrace that recorded it"
    )]
    Malformed { what: Malformed },
}

const OWN: &str = env!("CARGO_PKG_VERSION");

impl From<Malformed> for Unreadable {
    fn from(what: Malformed) -> Self {
        Self::Malformed { what }
    }
}

/// What a block says makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

/// How a recording goes on after its last whole moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It does not, and tracing ended as it should.
    Ended,
    /// It does not, and tracing had not ended: it still goes on, or was ended by force.
    Unended,
    /// By so many bytes of a moment that is not whole: its writing was interrupted.
    Cut { bytes: u64 },
    /// By so many bytes, the first of which are not as they were written.
    Damaged { bytes: u64 },
}

fn lost(rest: Rest) -> String {
    match rest {
        Rest::Ended | Rest::Unended => String::new(),
        Rest::Cut { bytes } => format!(", and {bytes} bytes of one that is cut short"),
        Rest::Damaged { bytes } => format!(", and {bytes} bytes that are damaged"),
    }
}

/// What is said of it beside a report.
impl fmt::Display for Rest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => Ok(()),
            Self::Unended => {
                write!(out, "the recording has no end: leaktrace still writes it, or was ended by force")
            }
            Self::Cut { bytes } => write!(
                out,
                "the recording is cut short: {bytes} bytes of a further moment are not whole and were left out"
            ),
            Self::Damaged { bytes } => write!(
                out,
                "the recording is damaged: what follows, {bytes} bytes, is not as it was written and was left out"
            ),
        }
    }
}
