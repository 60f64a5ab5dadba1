//! Which process an event belongs to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One life of a process: given out once and never again, so that neither a reused pid nor an `exec`
/// mixes two address spaces.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ProcessId(pub u32);

/// Value of the kernel map `PROCESSES`, whose key is the tgid: a process in it is traced.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessEntry {
    pub id: ProcessId,
    /// Bits of [`FOLLOW`] and later ones.
    pub flags: u32,
}

/// Children of this process are traced from their fork on.
pub const FOLLOW: u32 = 1;
