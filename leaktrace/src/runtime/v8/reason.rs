//! Why something of a function or frame is not known.

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum NotRead {
    #[error("the collector moved it before it was read")]
    Moved,
    #[error("the process's memory there cannot be read")]
    Unreadable,
    #[error("not what V8 has in such a place")]
    Malformed,
    #[error("the function was not read in time")]
    NotLearned,
    #[error("its compiled code was not found")]
    NoCode,
    #[error("V8 keeps no position for this place")]
    NoPosition,
    #[error("V8 keeps no source for this script")]
    NoSource,
    #[error("the script is too large to search for its lines")]
    SourceTooLarge,
    #[error("the process has more functions or scripts than are remembered")]
    TooMany,
}
