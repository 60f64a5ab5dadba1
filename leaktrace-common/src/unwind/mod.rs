//! Unwinding by call frame information: tables that the agent writes and the kernel side reads, and the pure
//! step from one frame to its caller, compiled for both.
//!
//! Functions are always inlined: they run in BPF programs, whose verifier follows every path. They neither
//! panic nor index with a bounds check.

mod architecture;
mod lookup;
mod step;
mod table;

pub use architecture::{Aarch64, Architecture, SignalFrame, X86_64};
pub use lookup::{Arena, find_mapping, find_row, rule_at};
pub use step::{Registers, World, step};
pub use table::{
    ARENA_CHUNKS, CHUNK_WORDS, Kind, MAPPING_WORDS, MAX_MAPPINGS, MAX_PAGE_ROWS, MAX_RULES, MappingEntry,
    PAGE_BITS, PAGE_WORDS, PackedRule, ProcessTable, RULE_WORDS, Ref, Row, Rule, Slot, Why, flags,
};
