//! The kernel side, as the agent sees it: loaded, attached, drained and read. The only importer of aya.
//!
//! Whatever happens to the agent, the kernel takes every probe back when the file descriptors held here are
//! closed; nothing is pinned.

pub mod attach;
pub mod btf;
pub mod clock;
pub mod cost;
mod engine;
pub mod features;
pub mod load;
pub mod mapped;
mod multi;
mod seccomp;
mod tables;
mod threads;
pub mod unwind_maps;

pub use load::{Kernel, LoadError, Options};
pub use threads::Registers;
