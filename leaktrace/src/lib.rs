//! The agent: attaches the kernel side to a process, keeps the books, names and prints what is live.
//!
//! The modules stand in the order in which data flows through them, see ARCHITECTURE.md.

pub mod attribute;
pub mod binary;
pub mod cli;
pub mod event;
pub mod kernel;
pub mod ledger;
pub mod probe_site;
pub mod process;
pub mod record;
pub mod report;
pub mod run;
pub mod symbolize;
pub mod target;
pub mod unwind;
