//! Where events come from: the kernel, or a recording.

use std::io;

use super::{Event, Snapshot};

/// Whether anything can follow what was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// The stream ends here: a recording was read to its end.
    Ended,
}

/// Contract: events come in the order in which the kernel side said them, none twice. A snapshot shows at least
/// everything that the events pulled before it tell of. An error leaves what was already put into `out` valid.
pub trait Source {
    /// Appends to `out` what came since the last call. Never waits.
    fn pull(&mut self, out: &mut Vec<Event>) -> io::Result<Progress>;

    /// The tables as they are now.
    fn snapshot(&mut self) -> io::Result<Snapshot>;
}
