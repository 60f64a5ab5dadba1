//! Why a process that was watched from outside came to be traced.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::amount;
use crate::heap_reader::Growth;

/// The growth that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// All that were taken until then.
    pub looks: u64,
    /// Of these, those that read another part of the heap than the one before and could not be compared with it.
    pub left_out: u64,
    /// Least and largest bytes of a chunk of the size class that grew most; none where only all together did.
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub bytes: u64,
    pub chunks: u64,
    /// How many of the looks show it, and nanoseconds from the first of them to the last.
    pub shown_by: u64,
    pub over_ns: u64,
}

impl Watch {
    #[must_use]
    pub fn new(looks: u64, left_out: u64, growth: Growth) -> Self {
        let Growth { class, looks: shown_by, over_ns, bytes, chunks } = growth;
        let (from, to) = (class.map(|class| class.from), class.map(|class| class.to));
        Self { looks, left_out, from, to, bytes, chunks, shown_by, over_ns }
    }
}

/// How a text says that looks could not be compared; nothing where all could.
#[must_use]
pub fn looks_left_out(looks: u64) -> String {
    if looks == 0 { String::new() } else { format!(" ({looks} that could not be compared left out)") }
}

impl fmt::Display for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looks, left_out, from, to, bytes, chunks, shown_by, over_ns } = *self;
        let what = match (from, to) {
            (Some(from), Some(to)) if from == to => format!("chunks of {} B", amount::count(to)),
            (Some(from), Some(to)) => format!("chunks of {}-{} B", amount::count(from), amount::count(to)),
            _ => "the heap".to_owned(),
        };
        let (bytes, chunks) = (amount::bytes(bytes), amount::counted(chunks, "chunk"));
        let (over, left_out) = (amount::duration(over_ns), looks_left_out(left_out));
        write!(
            out,
            "after {looks} looks{left_out} from outside: {what} grew by {bytes} ({chunks}) in {over}, by the last {shown_by} looks"
        )
    }
}
