//! A recorded stream: what a [`Source`](crate::event::Source) gave, one JSON object a line, so that everything
//! right of it can be tested without a kernel. An interim format of tests; recordings for users come as `.ltrace`.
//!
//! The first line names the format and its version. The lines' types are this module's own, so a change of the events
//! does not silently change old files.

mod line;
mod reader;
mod writer;

pub use reader::{Broken, Recording};
pub use writer::Recorder;

/// Of the format.
pub const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
