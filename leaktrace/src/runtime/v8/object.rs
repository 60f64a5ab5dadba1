//! Objects in V8's heap: tagged words, types, fields; everything read is another process's and may be anything.
//!
//! Without pointer compression, as node is built:
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/tagged.h>

use super::layout::Layout;
use crate::process::ReadUser;

/// Instance types below are strings (`FIRST_NONSTRING_TYPE`, the same in every version).
pub(super) const FIRST_NOT_STRING: u16 = 0x80;

/// `FixedArrayBase`, `ByteArray` and their trusted kin: length, a small integer, then the elements.
const ARRAY_LENGTH: u32 = 8;
const ARRAY_DATA: u32 = 16;

/// A pointer to an object of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tagged(u64);

impl Tagged {
    /// None for small integers and for weak pointers whose object is gone.
    pub(super) fn of(word: u64) -> Option<Self> {
        match word & 3 {
            1 => Some(Self(word)),
            // Weak; cleared ones are 3 in the lower half.
            3 if word as u32 != 3 => Some(Self(word & !2)),
            _ => None,
        }
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn field(self, offset: u32) -> u64 {
        (self.0 - 1).wrapping_add(u64::from(offset))
    }
}

/// The value of a small integer.
pub(super) fn smi(word: u64) -> Option<i32> {
    (word & 1 == 0).then_some((word >> 32) as i32)
}

/// A process's memory with the knowledge of what lies where.
#[derive(Debug)]
pub(super) struct Heap<'a, M> {
    pub(super) memory: &'a M,
    pub(super) layout: &'a Layout,
    /// As in [`leaktrace_common::v8::FunctionKey`], whose functions lie here.
    pub(super) isolate: u16,
}

impl<M> Clone for Heap<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Heap<'_, M> {}

impl<M: ReadUser> Heap<'_, M> {
    pub(super) fn word(self, address: u64) -> Option<u64> {
        self.memory.word(address)
    }

    pub(super) fn u32(self, address: u64) -> Option<u32> {
        self.memory.u32(address)
    }

    /// `length` comes from the process: callers have bounded it.
    pub(super) fn bytes(self, address: u64, length: usize) -> Option<Vec<u8>> {
        self.memory.bytes(address, length)
    }

    /// As many words as `into` has.
    pub(super) fn words<const N: usize>(self, address: u64) -> Option<[u64; N]> {
        let bytes = self.bytes(address, N * 8)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(words)
    }

    pub(super) fn pointer(self, object: Tagged, offset: u32) -> Option<Tagged> {
        Tagged::of(self.word(object.field(offset))?)
    }

    pub(super) fn integer(self, object: Tagged, offset: u32) -> Option<i32> {
        smi(self.word(object.field(offset))?)
    }

    pub(super) fn instance_type(self, object: Tagged) -> Option<u16> {
        let map = Tagged::of(self.word(object.field(0))?)?;
        self.memory.array(map.field(self.layout.map.instance_type)).map(u16::from_le_bytes)
    }

    pub(super) fn is_a(self, object: Tagged, instance_type: u16) -> bool {
        self.instance_type(object) == Some(instance_type)
    }

    pub(super) fn is_string(self, object: Tagged) -> bool {
        self.instance_type(object).is_some_and(|kind| kind < FIRST_NOT_STRING)
    }

    /// The object's name for its type in the binary's constants, such as `InterpreterData`.
    pub(super) fn type_name(&self, object: Tagged) -> Option<&str> {
        let kind = self.instance_type(object)?;
        let names = &self.layout.types.names;
        let at = names.binary_search_by_key(&kind, |(kind, _)| *kind).ok()?;
        Some(&names[at].1)
    }

    /// Number of elements of an array, if not more than `limit`.
    pub(super) fn array_length(self, array: Tagged, limit: usize) -> Option<usize> {
        let length = usize::try_from(self.integer(array, ARRAY_LENGTH)?).ok()?;
        (length <= limit).then_some(length)
    }

    /// The bytes of an array of bytes, if not more than `limit`.
    pub(super) fn array_bytes(self, array: Tagged, limit: usize) -> Option<Vec<u8>> {
        let length = self.array_length(array, limit)?;
        self.bytes(array.field(ARRAY_DATA), length)
    }

    /// Where an array of words has its elements.
    pub(super) fn element(self, array: Tagged, index: u32) -> u64 {
        array.field(ARRAY_DATA).wrapping_add(u64::from(index) * 8)
    }
}
