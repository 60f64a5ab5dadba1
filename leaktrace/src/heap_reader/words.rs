//! Numbers as another process has them in its memory.

use crate::process::ReadUser;

/// The word at `at`; none past the end.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn quarter(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Two words at once, so that they belong together.
pub(super) fn pair(memory: &impl ReadUser, address: u64) -> Option<(u64, u64)> {
    let bytes: [u8; 16] = memory.array(address)?;
    Some((word(&bytes, 0)?, word(&bytes, 8)?))
}
