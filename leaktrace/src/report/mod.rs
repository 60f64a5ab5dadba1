//! What a person or a program is shown: built once from the books and the names, rendered in several ways.
//!
//! The fields are those of the JSON file, whose schema is `schema/report-v2.json`; a change of their meaning or a
//! field that goes raises [`VERSION`]. All renderers read this one structure, so their sums agree.

pub(crate) mod amount;
mod build;
pub mod census;
mod comparison;
mod cost;
mod frames;
mod group;
mod javascript;
mod json;
mod moments;
mod owner;
mod proof;
pub mod ranking;
mod sizes;
mod text;
mod verdict;
mod visible;
mod watch;
mod words;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use leaktrace_common::counter::Counter;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use crate::verdict::HeapDiff;

pub use amount::duration;
pub use build::Options;
pub(crate) use build::rank;
pub use comparison::Comparison;
pub use cost::Cost;
pub use javascript::{CollectionTotals, Cycle, Estimate, Generation, JavaScript, Type};
pub use json::Json;
pub use moments::Moments;
pub use owner::owner;
pub use proof::Proof;
pub use text::{Colour, Text};
pub use verdict::{FailOn, Growing, Verdict, VerdictFrame};
pub use visible::visible;
pub use watch::{Watch, looks_left_out};
pub use words::words;

/// Of the JSON schema.
pub const VERSION: u32 = 2;

/// One way to write a report. Contract: whole lines, `out` is not flushed; the only errors are those of `out`.
pub trait Exporter {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub version: u32,
    /// That traced, which may be another one than reads a recording of it.
    pub leaktrace: Cow<'static, str>,
    /// Nanoseconds, as every field that ends so.
    pub traced_ns: u64,
    /// Blocks younger than this are left out of everything live; 0 unless asked for.
    pub older_than_ns: u64,
    /// With `--watch`: why it was traced.
    pub watch: Option<Watch>,
    /// None where no native memory is traced, or what that takes cannot be measured.
    pub cost: Option<Cost>,
    pub processes: Vec<Process>,
    /// Leaks first, each by its rate; empty until the first epoch is over.
    pub verdicts: Vec<Verdict>,
    /// Whether an epoch is over.
    pub judged: bool,
    /// Heaps that memwatch's rule warns of.
    pub growing: Vec<Growing>,
    /// What the search of each process's memory did; empty without `--prove`.
    pub proofs: Vec<Proof>,
    /// What changed between the last two marks (SIGUSR1, Enter); of one mark since it, and without any since tracing began.
    /// None of a report that tells only what is live.
    pub diff: Option<HeapDiff>,
    pub totals: Totals,
    /// Every frame of a stack, once: where code is compiled anew all the while there are more stacks than memory for
    /// the names of each.
    pub frames: Vec<Frame>,
    /// By live bytes, most first.
    pub stacks: Vec<Stack>,
    pub coverage: Coverage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Unlike a pid never used again, and another one after an exec.
    pub process: u32,
    pub pid: u32,
    pub comm: String,
    pub command: String,
    pub state: Cow<'static, str>,
    /// None where no JavaScript engine was found.
    pub javascript: Option<JavaScript>,
}

/// Sums over those of [`Report::stacks`] that are not JavaScript's: estimates are not added to exact numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Totals {
    pub live_bytes: u64,
    pub live_blocks: u64,
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    pub freed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stack {
    /// From 1.
    pub rank: usize,
    /// Its id, by which verdicts and differences name it; `0x0000000000000000` is every block without a stack.
    pub stack: String,
    pub pid: u32,
    pub process: u32,
    /// `heap`, `mapping`, or `javascript`: its bytes are estimates, and a block is a sample.
    pub kind: Cow<'static, str>,
    /// Whose memory it is, where that is not the program's: a part of V8.
    pub owner: Option<Cow<'static, str>>,
    /// The allocator's function; none where the stack is unknown.
    pub function: Option<String>,
    /// Name of the thread that allocates by it, as it was at first; of several that have one name, too. None where threads of
    /// different names do.
    pub thread: Option<String>,
    #[serde(flatten)]
    pub totals: Totals,
    /// None without live blocks.
    pub oldest_age_ns: Option<u64>,
    /// The lower of the two middle ones of an even number.
    pub median_age_ns: Option<u64>,
    /// Of live blocks; empty ranges are left out.
    pub sizes: Vec<SizeRange>,
    /// Where live bytes are an estimate (of JavaScript always, of native memory that was watched in windows): within how many
    /// the true number is, with 95 % confidence. Else none.
    pub error_bytes: Option<u64>,
    /// JavaScript's: what is live by type, most bytes first, and by collections outlived.
    pub types: Vec<Type>,
    pub generations: Vec<Generation>,
    /// Whether the frames reach the outermost one.
    pub complete: bool,
    /// Why there is no further frame.
    pub stopped: Cow<'static, str>,
    /// Places in [`Report::frames`], the allocator's caller first.
    pub frames: Vec<usize>,
}

impl Stack {
    #[must_use]
    pub fn is_javascript(&self) -> bool {
        self.kind == build::JAVASCRIPT
    }
}

impl Report {
    /// The process of this number.
    #[must_use]
    pub fn process(&self, number: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.process == number)
    }

    /// Estimated live bytes of JavaScript heaps; none without an engine.
    #[must_use]
    pub fn javascript_bytes(&self) -> Option<u64> {
        let has_engine = self.processes.iter().any(|process| process.javascript.is_some());
        let stacks = self.stacks.iter().filter(|stack| stack.is_javascript());
        has_engine.then(|| stacks.map(|stack| stack.totals.live_bytes).sum())
    }

    /// The frames of one of its stacks.
    pub fn frames_of<'a>(&'a self, stack: &'a Stack) -> impl DoubleEndedIterator<Item = &'a Frame> {
        stack.frames.iter().filter_map(|at| self.frames.get(*at))
    }
}

/// Blocks of `from` to `to` bytes, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SizeRange {
    pub from: u64,
    pub to: u64,
    pub count: u64,
}

/// A function on the stack. An inlined one shares the address of the one after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The return address, in hex.
    pub address: String,
    pub function: Option<String>,
    /// Path of the file that the code is from, as its process sees it.
    pub module: Option<String>,
    /// Of the call in that file, in hex.
    pub offset: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub inlined: bool,
    /// `line` and `column` are where the function begins: the place within it is not known.
    pub line_of_function: bool,
    /// Why `function` is not known.
    pub unknown: Option<Cow<'static, str>>,
}

/// What the numbers rest on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Allocations, frees, mapping calls, execs, forks and exits that are in the books.
    pub events_seen: u64,
    pub allocs: u64,
    pub frees: u64,
    /// Sum of what makes live bytes inexact: counters of kind `lost` and records that could not be read.
    pub lost: u64,
    pub counters: Counters,
    pub undecodable_records: u64,
    pub stacks: u64,
    pub stacks_incomplete: u64,
    /// Live bytes of those.
    pub stack_bytes_incomplete: u64,
    /// Live bytes without any stack.
    pub stack_bytes_unknown: u64,
    /// Distinct places in the code, and those without a name.
    pub addresses: u64,
    pub addresses_unknown: u64,
    /// Processes that ended and are not listed: of a trace of all processes those of which nothing was to be said. What they
    /// allocated and freed is in the numbers above.
    #[serde(default)]
    pub ended_processes: u64,
    /// Processes that were to be traced and could not be looked into.
    #[serde(default)]
    pub unread_processes: u64,
    /// What processes held when they ran another program.
    pub exec_dropped_blocks: u64,
    pub exec_dropped_bytes: u64,
    /// Unmapped, and never seen mapped.
    pub unmapped_unknown_bytes: u64,
    /// JavaScript functions, scripts and lines that could not be read, by cause.
    pub javascript_unread: BTreeMap<String, u64>,
    /// Stacks whose counters and live blocks differ; expected while their process allocates.
    pub discrepancies: u64,
}

/// By [`leaktrace_common::counter::Counter`].
#[derive(Clone, Debug, PartialEq)]
pub struct Counters(pub Vec<(Counter, u64)>);

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(counter, count)| (counter.key(), count)))
    }
}

/// In the order that they are in; a counter of a newer leaktrace has no words here and is left out, its losses are in
/// [`Coverage::lost`] all the same.
impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Counters;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("counters by their keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counters, A::Error> {
                let mut counters = Vec::new();
                while let Some((key, count)) = map.next_entry::<String, u64>()? {
                    let known = Counter::ALL.iter().find(|counter| counter.key() == key);
                    counters.extend(known.map(|counter| (*counter, count)));
                }
                Ok(Counters(counters))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
pub(crate) mod tests;
