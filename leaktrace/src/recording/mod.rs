//! Recordings: reports, moment after moment, in one small file (`.ltrace`).
//!
//! A recording is a sequence of blocks, each with a checksum, so that after a crash or on a full disk it is readable up to
//! the last moment that is whole. A moment is a [`crate::report::Report`]; written is what it has beyond the one before.
//! So what is made of a recording is what would have been made then, and needs neither the process nor its files.
//! `docs/recordings.md` has the format.
//!
//! No files here: what is read and written is given. Nothing of what a file says is believed before it is checked: lengths
//! are bounded, places are looked up, and what makes no sense is an error.

mod ages;
mod block;
mod callees;
mod changes;
mod columns;
mod error;
mod moment;
mod reader;
mod rebuild;
mod stacks;
mod strings;
mod writer;

pub use block::VERSION;
pub use error::{Malformed, Rest, Unreadable};
pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;
