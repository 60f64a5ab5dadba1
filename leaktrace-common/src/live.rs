//! Live blocks, as the kernel map `LIVE` keeps them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{process::ProcessId, stack::StackId};

/// In place of the time since which native memory is watched: it is not.
pub const PAUSED: u64 = u64::MAX;

/// A block is its process and its address: the same address lives in many processes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockKey {
    pub address: u64,
    pub process: ProcessId,
    /// Always 0: the kernel compares keys byte by byte.
    pub padding: u32,
}

impl BlockKey {
    #[must_use]
    #[inline(always)]
    pub const fn new(process: ProcessId, address: u64) -> Self {
        Self { address, process, padding: 0 }
    }
}

/// 24 bytes, so that an element of the kernel's hash (48 bytes of header, the key and 8 bytes of its allocator)
/// fills a 96-byte slot exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Block {
    /// Bytes asked for.
    pub size: u64,
    /// The [`StackId`] that allocated it.
    pub stack: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub born: u64,
}

const _: () = assert!(size_of::<BlockKey>() == 16 && size_of::<Block>() == 24);

impl Block {
    #[must_use]
    pub const fn stack(&self) -> StackId {
        StackId(self.stack)
    }
}
