//! What a probed function does, packed into the 64-bit cookie of its probes.

/// What the function does with memory, and thus what its probe records.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Returns a block of `size` bytes.
    Alloc = 1,
    /// Returns a block of `count * size` bytes.
    AllocArray = 2,
    /// Moves or makes the block at `pointer` to `size` bytes; null and a size above 0: the old block stays.
    Realloc = 3,
    /// The same for `count * size` bytes.
    ReallocArray = 4,
    /// Returns 0 and puts the address of a block of `size` bytes where `pointer` points.
    AllocOut = 5,
    /// Frees the block at `pointer`.
    Free = 6,
    /// `mmap`
    Map = 7,
    /// `munmap`
    Unmap = 8,
    /// `mremap`
    Remap = 9,
}

impl Shape {
    pub const ALL: [Self; 9] = [
        Self::Alloc,
        Self::AllocArray,
        Self::Realloc,
        Self::ReallocArray,
        Self::AllocOut,
        Self::Free,
        Self::Map,
        Self::Unmap,
        Self::Remap,
    ];

    /// Whether the outcome is known only when the function returns.
    #[must_use]
    pub const fn needs_return(self) -> bool {
        !matches!(self, Self::Free)
    }
}

impl TryFrom<u8> for Shape {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        Self::ALL.into_iter().find(|shape| *shape as u8 == value).ok_or(value)
    }
}

/// The cookie's meaning, a byte each from the lowest: shape, and the position (0 to 5) of the arguments `size`,
/// `count` and `pointer`; then 16 bits of the hook's number in the agent's list and 8 bits of how many 8-byte
/// words the stack pointer has moved between the function's entry and the probed instruction; and, highest, 1 if
/// the function's return is seen at its `ret` and not by a return probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    pub shape: u8,
    pub size_arg: u8,
    pub count_arg: u8,
    pub pointer_arg: u8,
    pub hook: u16,
    pub pushed_words: u8,
    pub at_ret: u8,
}

impl Cookie {
    #[must_use]
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        let Self { shape, size_arg, count_arg, pointer_arg, hook, pushed_words, at_ret } = self;
        shape as u64
            | (size_arg as u64) << 8
            | (count_arg as u64) << 16
            | (pointer_arg as u64) << 24
            | (hook as u64) << 32
            | (pushed_words as u64) << 48
            | (at_ret as u64) << 56
    }

    #[must_use]
    #[inline(always)]
    pub const fn unpack(bits: u64) -> Self {
        Self {
            shape: bits as u8,
            size_arg: (bits >> 8) as u8,
            count_arg: (bits >> 16) as u8,
            pointer_arg: (bits >> 24) as u8,
            hook: (bits >> 32) as u16,
            pushed_words: (bits >> 48) as u8,
            at_ret: (bits >> 56) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_as_it_was_packed() {
        let cookie = Cookie {
            shape: 9,
            size_arg: 5,
            count_arg: 4,
            pointer_arg: 3,
            hook: 0xabcd,
            pushed_words: 255,
            at_ret: 1,
        };
        assert_eq!(Cookie::unpack(cookie.pack()), cookie);
    }
}
