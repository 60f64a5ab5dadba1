//! Which live blocks nothing points to any more: proof of a leak, where growth is only evidence.
//!
//! A [`Prover`] reads a process's memory from outside while it runs, marks every block that a word of it points into,
//! and then what is reached from those (conservatively: any aligned word may be a pointer, interior ones count, and one
//! just past a block's end). What no scan reaches, several scans in a row, is out of reach.
//!
//! # Roots
//!
//! All memory of the process that it can have written to, but for the traced blocks themselves: data segments, thread
//! stacks and thread-local storage, anonymous mappings (V8's heap too), the allocator's own books, blocks from before
//! tracing. Then the registers of its threads, what epoll and timers keep in the kernel, and blocks that are too
//! young to be judged or share bytes with another.
//!
//! # Why the process is not stopped
//!
//! A stop has to be taken back by someone. SIGSTOP and a frozen cgroup outlive the agent; a ptrace stop ends with it but
//! lasts as long as an agent that is itself stopped, and makes `epoll_wait` and others fail with EINTR. So nothing is
//! stopped, and pages that are not there are left so: reading one would make it.
//!
//! # What that costs: the race, and why it is not lost
//!
//! A pointer that moves from where is yet to be read to where has been read is not seen. A pass over the memory
//! misses a pointer that is at either of two places at random once in 4 times, one among many places less than 3 in 8
//! (1/e). So a scan goes on until [`Settings::dry`] passes in a row, in turns forwards and backwards, reached nothing
//! new, and says nothing if that does not come; with 3 of them a scan has at least 4 passes, and 3 scans 12: missed by
//! chance 6 times in 10⁸, or 10⁶ for many places. Scans are apart, so that what one slow move hid in one is seen in the
//! next. And should a proven block be freed after all, its stack is not believed again ([`Scan::refuted`]).
//!
//! # What is not seen
//!
//! Pointers that are no aligned words of their address: packed, compressed, in xor lists, with a tag in the upper 16
//! bits; those in vector registers alone, in pipes and sockets, or in memory shared with others that is not mapped
//! or touched here. A process that has an `io_uring` or uses kernel aio is not judged, nor one with memory that is
//! swapped out.
//! A running thread's registers are those of its last entry to the kernel, a tick ago.
//!
//! Not told as lost, though it may be: what stale words point to (unused parts of thread stacks, freed chunks), and the
//! neighbours of free chunks, which allocators link by addresses just before their memory.

mod blocks;
mod error;
mod mark;
mod pass;
mod prover;
mod streaks;

#[cfg(test)]
mod tests;

pub use error::ReachError;
use leaktrace_common::stack::StackId;
pub use prover::{Prover, Registers};

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockAt {
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
    pub stack: StackId,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub born: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Scans in a row that must not reach a block.
    pub scans: u32,
    /// Nanoseconds between two scans that count.
    pub apart: u64,
    /// Age in nanoseconds from which a block is judged.
    pub youngest: u64,
    /// Passes in a row that must not reach anything new for a scan to say something.
    pub dry: u32,
    /// Passes after which it is given up.
    pub most_passes: u32,
    /// Bytes of the machine's pages.
    pub page: u64,
}

impl Settings {
    #[must_use]
    pub fn new(page: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self { scans: 3, apart: 10 * SECOND, youngest: 10 * SECOND, dry: 3, most_passes: 12, page }
    }
}

/// What a scan found, and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Why it says nothing about what it did not reach; none if it does.
    pub unsure: Option<Unsure>,
    /// Whether it was far enough from the one before to count.
    pub counts: bool,
    pub blocks: u64,
    /// Not judged: too young, or sharing bytes with another block, whose end was missed.
    pub young: u64,
    pub overlapping: u64,
    pub unreached: u64,
    pub unreached_bytes: u64,
    /// Blocks that were proven lost and have been freed since the scan before.
    pub refuted: u64,
    pub passes: u32,
    /// Bytes read, by all passes.
    pub bytes: u64,
    pub nanoseconds: u64,
    /// Bytes of shared mappings that this process has not touched and that were left so.
    pub absent_shared: u64,
}

/// Why a scan is not sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsure {
    /// Passes went on finding blocks that those before them had not.
    Moving,
    /// Bytes that could not be read in the last pass: unmapped meanwhile.
    Vanished(u64),
    /// Bytes that are swapped out.
    Swapped(u64),
    /// Threads whose registers are not known.
    Threads(u64),
    /// `io_uring`s and kernel aio, which hold pointers out of sight.
    Rings(u64),
}
