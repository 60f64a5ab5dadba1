//! The two number spaces of an ELF file, kept apart: uprobes want file offsets, symbols hold addresses.

use std::fmt;

pub use crate::event::FileOffset;

/// An address as the file was linked, before the loader moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddress(pub u64);

impl LinkAddress {
    /// The address `bytes` further on.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
