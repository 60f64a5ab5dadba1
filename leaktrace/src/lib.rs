//! The agent: attaches the kernel side to a process, keeps the books, names and prints what is live.
//!
//! The modules stand in the order in which data flows through them, see ARCHITECTURE.md.

/// Says something on stderr. Unlike `eprintln!` it does not end the program where nobody reads that any more.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

pub mod attribute;
pub mod binary;
pub mod cli;
pub mod event;
pub mod export;
pub mod heap_reader;
pub mod judge;
pub mod kernel;
pub mod ledger;
pub mod metrics;
pub mod probe_site;
pub mod process;
pub mod push;
pub mod reach;
pub mod record;
pub mod recording;
pub mod report;
pub mod run;
pub mod runtime;
pub mod source_map;
pub mod symbolize;
pub mod target;
pub mod unwind;
pub mod verdict;

// The harness of the kernel tests is built on this crate and so cannot be a dependency.
#[cfg(test)]
#[path = "../../tests-kernel/src/skip.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the harness, and `cargo xtask test` reads its mark"
)]
mod skip;
