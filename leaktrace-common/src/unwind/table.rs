//! How unwind tables lie in the arena.
//!
//! The arena is a row of chunks of 2^16 words, each a map of its own. Nothing crosses a chunk's end:
//!
//! - rows, 1 word each, sorted by address, apart for each 64 KiB page of code, each page's first at its offset 0;
//! - page tables, 2 words a page: a [`Ref`] to its rows and how many they are;
//! - rules, 4 words each, one list a binary;
//! - mappings, 12 words each, sorted by address, one list a process.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words (u32) of a chunk: 256 KiB.
pub const CHUNK_WORDS: usize = 1 << 16;
/// The most chunks: 1 GiB of tables, 500 times node's.
pub const ARENA_CHUNKS: usize = 4096;

/// Code is cut into pages of 2^16 bytes, so that a row holds its offset in 16 bits.
pub const PAGE_BITS: u32 = 16;
/// Words of a page table's entry.
pub const PAGE_WORDS: u32 = 2;
/// The most rows of a page: the search takes 14 steps, each halving. The densest page of nodejs.org's node 26, which
/// clang built, has 7505.
pub const MAX_PAGE_ROWS: usize = 16_383;
/// The most mappings with code of a process: the search takes 12 steps.
pub const MAX_MAPPINGS: usize = 4095;
/// The most rules of a binary: as many as fit a chunk. The most of 2246 files of Debian are 1118.
pub const MAX_RULES: usize = CHUNK_WORDS / RULE_WORDS as usize;

/// A place in the arena: `chunk << 16 | word`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ref(pub u32);

impl Ref {
    #[must_use]
    #[inline(always)]
    pub const fn new(chunk: u32, word: u32) -> Self {
        Self(chunk << 16 | word)
    }

    #[must_use]
    #[inline(always)]
    pub const fn chunk(self) -> u32 {
        self.0 >> 16
    }

    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0 & 0xffff
    }
}

/// From this offset in its page on, this rule of the binary holds.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Row(pub u32);

impl Row {
    #[must_use]
    pub const fn new(offset: u16, rule: u16) -> Self {
        Self((offset as u32) << 16 | rule as u32)
    }

    #[must_use]
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        self.0 & 0xffff
    }

    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 >> 16
    }
}

/// How a frame's CFA, the stack pointer of its caller, is found.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing is known of this code.
    None = 0,
    /// CFA = stack pointer + `cfa`
    StackPointer = 1,
    /// CFA = frame pointer + `cfa`
    FramePointer = 2,
    /// x86_64: CFA = rbx + `cfa`
    Second = 3,
    /// The frame-pointer chain, each link checked: code that has no tables.
    Chain = 4,
    /// The outermost frame.
    End = 5,
    /// The frame that the kernel made to run a signal handler.
    Signal = 6,
    /// Call frame information that a rule cannot say; the reason stands in `post`, see [`Why`].
    Unsupported = 7,
    /// CFA = *(stack pointer + `cfa`) + `post`
    DerefStackPointer = 8,
    /// CFA = *(frame pointer + `cfa`) + `post`
    DerefFramePointer = 9,
    /// x86_64, an entry of the procedure linkage table: CFA = rsp + 8, and 8 more from its byte `cfa` on.
    Plt = 10,
}

/// Why call frame information could not be made a rule.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The CFA is counted from a register that is not followed (r10 or r13 where a frame is realigned).
    CfaRegister = 1,
    /// The CFA is an expression of another form than the known ones.
    CfaExpression = 2,
    /// The return address is not where calls put it.
    ReturnAddress = 3,
    /// The rule of the frame pointer is of another kind than saved or unchanged.
    FramePointer = 4,
    /// A number does not fit.
    Range = 5,
    /// The binary has more than [`MAX_RULES`] rules, or the page more than [`MAX_PAGE_ROWS`] rows.
    TooMany = 6,
}

/// Where a caller's register was saved.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub i16);

impl Slot {
    /// Not saved: the register still holds it.
    pub const SAME: Self = Self(i16::MIN);
    /// Lost, or saved in a way that a rule cannot say.
    pub const LOST: Self = Self(i16::MIN + 1);

    /// The slot this many bytes from the CFA; none where it is not a multiple of 8 or too far.
    #[must_use]
    pub const fn at(bytes: i64) -> Option<Self> {
        let words = bytes / 8;
        if bytes % 8 != 0 || words <= Self::LOST.0 as i64 || words > i16::MAX as i64 {
            return None;
        }
        Some(Self(words as i16))
    }

    /// Bytes from the CFA.
    #[must_use]
    #[inline(always)]
    pub const fn bytes(self) -> u64 {
        (self.0 as i64 * 8) as u64
    }

    #[must_use]
    #[inline(always)]
    pub const fn is_saved(self) -> bool {
        self.0 > Self::LOST.0
    }
}

/// Bits of a rule's flags: what realigned frames of gcc need.
pub mod flags {
    /// The caller's frame pointer stands where the frame pointer points, not in a slot below the CFA.
    pub const FRAME_POINTER_AT_ITSELF: u32 = 1;
    /// The slot of the second register is counted from the frame pointer.
    pub const SECOND_FROM_FRAME_POINTER: u32 = 2;
    /// The code is in no known mapping or in a file that could not be read, so that the rule is a guess.
    pub const GUESSED: u32 = 4;
}

/// From a frame to its caller. The second register is rbx on x86_64, which some frames' CFA is counted from,
/// and on aarch64 the link register, with the return address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rule {
    /// Kind in the lowest byte, then flags, and the frame pointer's slot in the upper half.
    head: u32,
    pub cfa: i32,
    /// Slot of the second register in the lower half.
    second: u32,
    pub post: i32,
}

pub const RULE_WORDS: u32 = 4;
const _: () = assert!(size_of::<Rule>() == 4 * RULE_WORDS as usize);

impl Rule {
    pub const NONE: Self = Self::of(Kind::None);
    pub const CHAIN: Self = Self::of(Kind::Chain);
    /// The same for code that may be something else.
    pub const GUESS: Self = Self::new(Kind::Chain, flags::GUESSED, Slot::SAME, Slot::SAME, 0, 0);

    /// A rule that says no more than its kind.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self { head: kind as u32, cfa: 0, second: 0, post: 0 }
    }

    #[must_use]
    pub const fn unsupported(why: Why) -> Self {
        Self { post: why as i32, ..Self::of(Kind::Unsupported) }
    }

    #[must_use]
    pub const fn new(kind: Kind, flags: u32, frame_pointer: Slot, second: Slot, cfa: i32, post: i32) -> Self {
        Self {
            head: kind as u32 | flags << 8 | (frame_pointer.0 as u16 as u32) << 16,
            cfa,
            second: second.0 as u16 as u32,
            post,
        }
    }

    /// From its four words in the arena.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(head: u32, cfa: u32, second: u32, post: u32) -> Self {
        Self { head, cfa: cfa as i32, second, post: post as i32 }
    }

    /// The number of its [`Kind`].
    #[must_use]
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.head & 0xff
    }

    /// `cfa`, to be added with wrapping.
    #[must_use]
    #[inline(always)]
    pub fn cfa_bytes(self) -> u64 {
        i64::from(self.cfa) as u64
    }

    /// `post`, to be added with wrapping.
    #[must_use]
    #[inline(always)]
    pub fn post_bytes(self) -> u64 {
        i64::from(self.post) as u64
    }

    #[must_use]
    #[inline(always)]
    pub const fn flags(self) -> u32 {
        self.head >> 8 & 0xff
    }

    #[must_use]
    #[inline(always)]
    pub const fn frame_pointer(self) -> Slot {
        Slot((self.head >> 16) as i16)
    }

    #[must_use]
    #[inline(always)]
    pub const fn second(self) -> Slot {
        Slot(self.second as i16)
    }
}

/// A rule in 8 bytes, as the kernel side's cache of rules keeps it: without `post`, its `cfa` in words.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedRule(pub u64);

impl PackedRule {
    /// None for the rare rules that do not fit.
    #[inline(always)]
    #[must_use]
    pub const fn pack(rule: Rule) -> Option<Self> {
        let words = rule.cfa >> 3;
        if rule.kind() > Kind::Signal as u32 || rule.cfa & 7 != 0 || words != words as i16 as i32 {
            return None;
        }
        Some(Self(rule.head as u64 | (words as u16 as u64) << 32 | (rule.second as u64) << 48))
    }

    #[inline(always)]
    #[must_use]
    pub const fn unpack(self) -> Rule {
        let cfa = ((self.0 << 16) as i64 >> 48) as i32 * 8;
        Rule { head: self.0 as u32, cfa, second: (self.0 >> 48) as u32, post: 0 }
    }
}

/// A mapping with code of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MappingEntry {
    pub start: u64,
    pub end: u64,
    /// What to take from an address to get the binary's own (ELF) address.
    pub bias: u64,
    /// Of `pages` entries, of which the first is for the binary's page `first_page`.
    pub page_table: Ref,
    pub first_page: u32,
    pub pages: u32,
    pub rules: Ref,
    /// Bits of [`MappingEntry::NO_TABLES`] and the others.
    pub flags: u32,
    pub padding: u32,
}

pub const MAPPING_WORDS: u32 = 12;
const _: () = assert!(size_of::<MappingEntry>() == 4 * MAPPING_WORDS as usize);

impl MappingEntry {
    /// Code with no tables at all (JIT, or a binary without call frame information): the frame-pointer chain.
    pub const NO_TABLES: u32 = 1;
    /// Where the tables say nothing, the frame-pointer chain (V8's embedded builtins).
    pub const CHAIN_IN_HOLES: u32 = 2;
    /// A binary that could not be read. It most likely has no frame pointers: following them is a guess.
    pub const UNREAD: u32 = 4;
}

/// Value of the kernel map `UNWIND_TABLES`, whose key is a `ProcessId`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessTable {
    pub mappings: Ref,
    /// How many mappings.
    pub count: u32,
    /// Another with every change of the process's mappings: rules cached before are then not found any more.
    pub generation: u32,
    /// Another with every change that gave an address another meaning (dlclose, then dlopen). It is part of
    /// the stack's id, so that the same addresses travel to the agent again.
    pub epoch: u32,
    /// Bits of [`ProcessTable::HAS_JIT`].
    pub flags: u32,
}

const _: () = assert!(size_of::<ProcessTable>() == 20);

impl ProcessTable {
    /// The process makes code as it runs, so code in no known mapping is taken for such.
    pub const HAS_JIT: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_comes_out_of_the_cache_as_it_went_in() {
        for cfa in [-262_144, -8, 0, 8, 16, 9000, 262_136] {
            for slot in [Slot::SAME, Slot::LOST, Slot(-2), Slot(-32_000), Slot(32_767)] {
                let rule = Rule::new(Kind::FramePointer, 3, slot, Slot(-3), cfa, 0);
                assert_eq!(PackedRule::pack(rule).unwrap().unpack(), rule);
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_cache_is_not_put_there() {
        let same = Slot::SAME;
        assert_eq!(PackedRule::pack(Rule::new(Kind::StackPointer, 0, same, same, 12, 0)), None);
        assert_eq!(PackedRule::pack(Rule::new(Kind::StackPointer, 0, same, same, 262_144, 0)), None);
        assert_eq!(PackedRule::pack(Rule::new(Kind::DerefFramePointer, 0, same, same, -8, 0)), None);
        assert_eq!(PackedRule::pack(Rule::unsupported(Why::CfaRegister)), None);
    }

    #[test]
    fn slots_keep_their_distance_or_are_refused() {
        assert_eq!(Slot::at(-16).unwrap().bytes() as i64, -16);
        assert_eq!(Slot::at(-12), None);
        assert_eq!(Slot::at(8 * i64::from(i16::MIN)), None);
        assert_eq!(Slot::at(8 * 32_768), None);
    }
}
