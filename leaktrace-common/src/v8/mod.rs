//! V8 as the kernel side sees it: where things lie in its objects, samples of its heap, its cycles of collection.
//!
//! Pointers between V8's objects are tagged: their lowest bit is 1. Offsets here are from an object's start, which is
//! its tagged pointer less 1. A small integer is in the upper half of a word whose lowest bit is 0.

mod check;
mod function;
mod sample;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::{
    check::{Check, Checked},
    function::{FunctionKey, FunctionOf, Sighting, Word},
    sample::{SAMPLES, Sample, SampleState, Window},
};

/// What the kernel side may do with a process's V8; each is checked by itself, see `leaktrace::runtime::v8`.
pub mod can {
    /// Read JavaScript frames.
    pub const FRAMES: u32 = 1;
    /// Take samples of what is allocated.
    pub const SAMPLES: u32 = 2;
    /// Say of an object whether it outlived a collection of the young ones.
    pub const YOUNG: u32 = 4;
    /// The same for a whole collection.
    pub const OLD: u32 = 8;
    /// Read an object's type and constructor.
    pub const TYPES: u32 = 16;

    /// What it takes to say of a sample whether its object lives: old objects were young, and their samples lost where
    /// they moved as such.
    pub const FOLLOW: u32 = YOUNG | OLD;
}

/// Whether three words, read where an allocator's pointer leads, can be a linear allocation area in use: start, top
/// and limit in order, aligned, on one page.
#[must_use]
#[inline(always)]
pub const fn is_area(start: u64, top: u64, limit: u64) -> bool {
    // A full area's limit is the end of its page, which is the next one's start.
    let last = limit.wrapping_sub(1);
    start != 0
        && start <= top
        && top <= limit
        && start < limit
        && (start | top | limit).is_multiple_of(8)
        && start / PAGE == last / PAGE
}

/// Where things lie in one process's V8: value of the kernel map `V8_LAYOUTS`, whose key is a `ProcessId`.
/// Offsets and sizes in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Layout {
    /// Start and end of the builtins' code in the binary's text, and of the copy that V8 may have made of it
    /// beside the code that it compiles; 0 and 0 for none.
    pub builtins: [u64; 2],
    pub builtins_copy: [u64; 2],
    /// Where in the builtins, from their start, interpreted functions run: start and end.
    pub interpreter: [u64; 2],
    /// Mean bytes between two samples.
    pub interval: u64,
    /// Nanoseconds between two samples of an allocator below which its interval is doubled; 0: it stays.
    pub least_apart: u64,
    /// Bits of [`can`].
    pub can: u32,
    /// `JSFunction` to its `SharedFunctionInfo`.
    pub function_shared: u32,
    /// Instance types of functions, first and last.
    pub first_function_type: u32,
    pub last_function_type: u32,
    /// `SharedFunctionInfo`: to its script, and to the number of its literal (4 bytes).
    pub shared_script: u32,
    pub shared_literal: u32,
    /// `Script` to its id, a small integer.
    pub script_id: u32,
    /// `Map`: to the instance type (2 bytes), to the size of an instance in words (1 byte, 0: it varies), and to the
    /// constructor or the map that it was made from.
    pub map_instance_type: u32,
    pub map_instance_size: u32,
    pub map_constructor: u32,
    /// Instance type of maps, and the first one of objects that JavaScript can make (their maps have constructors).
    pub map_type: u32,
    pub first_object_type: u32,
    /// A page's flags, from its start; which of them say that its objects are young.
    pub page_flags: u32,
    pub young_flags: u32,
    /// The bits of marked objects, from the page's start or, if `page_metadata` is not 0, from where the word at that
    /// offset points.
    pub mark_bitmap: u32,
    pub page_metadata: u32,
    /// An allocator's pointer to its area {start, top, limit}.
    pub allocator_area: u32,
    /// What frames of WebAssembly have in place of a context, and those of its calls to JavaScript; 0 if that is not known.
    pub wasm_frame: u16,
    pub wasm_to_js_frame: u16,
    pub state: State,
}

/// What the kernel side alone changes in a [`Layout`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct State {
    /// Beginnings and ends of collections since tracing began, and ends of heaps: what is remembered of objects by address
    /// holds for one value of this.
    pub collections: u64,
    /// How many isolates beside the first were numbered.
    pub isolates: u32,
    /// How many heaps have ended.
    pub heaps_ended: u32,
    /// By [`Check`].
    pub checked: [Checked; Check::ALL.len()],
    /// Bits of [`can`] that were given up.
    pub given_up: u32,
    /// Refills of allocation areas since tracing began, as far as probes stood; it wraps around.
    pub refills: u32,
}

/// Size in bytes and alignment of V8's pages.
pub const PAGE: u64 = 1 << 18;

/// A V8 function that is probed, crossing in the probe's cookie.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A collection, entry and return: (heap, collector, reason).
    Collect = 1,
    /// `Heap::SizeOfObjects`, return: bytes of objects.
    SizeOfObjects = 2,
    /// The young objects that live have moved, the others' memory is still as it was. Entry.
    YoungMoved = 3,
    /// Mark bits are final. Entry.
    Marked = 4,
    /// Forwarding addresses of what a whole collection moved are there. Entry.
    Evacuated = 5,
    /// An allocation area is used up, entry: (allocator, size).
    AllocateSlow = 6,
    /// The same in V8 before 12, entry: (space, address, size).
    AllocateObserved = 7,
    /// A large object, entry and return: its size is the cookie's argument.
    AllocateLarge = 8,
    /// `Heap::TearDown`, entry: the heap of an isolate that ends.
    TearDown = 9,
}

impl Point {
    pub const ALL: [Self; 9] = [
        Self::Collect,
        Self::SizeOfObjects,
        Self::YoungMoved,
        Self::Marked,
        Self::Evacuated,
        Self::AllocateSlow,
        Self::AllocateObserved,
        Self::AllocateLarge,
        Self::TearDown,
    ];
}

impl TryFrom<u8> for Point {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        Self::ALL.into_iter().find(|point| *point as u8 == value).ok_or(value)
    }
}

/// Key of the kernel map `V8_HEAPS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HeapKey {
    /// [`crate::process::ProcessId`], widened.
    pub process: u64,
    /// `v8::internal::Heap`
    pub heap: u64,
}

/// Value of the kernel map `V8_HEAPS`. Lists begin with the number of a sample, 0 where they are empty.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Heap {
    /// What it is called outside: its address, and above that how many heaps of the process had ended before it was first
    /// seen. A later heap at the same address is another one.
    pub id: u64,
    /// Samples that no collection has seen.
    pub fresh: u32,
    pub young: u32,
    pub old: u32,
    /// Whole collections since tracing began.
    pub majors: u32,
}

impl Heap {
    const ADDRESS_BITS: u32 = 48;

    #[must_use]
    #[inline(always)]
    pub const fn id_of(address: u64, heaps_ended: u32) -> u64 {
        address & ((1 << Self::ADDRESS_BITS) - 1) | (heaps_ended as u64) << Self::ADDRESS_BITS
    }

    /// Puts a sample into the list of its state.
    #[inline(always)]
    pub const fn put(&mut self, number: u32, sample: &mut Sample, state: SampleState) {
        let list = match state {
            SampleState::Free | SampleState::Fresh => &mut self.fresh,
            SampleState::Young => &mut self.young,
            SampleState::Old => &mut self.old,
        };
        sample.state = state as u32;
        sample.next = *list;
        *list = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_in_use_is_in_order_aligned_and_on_one_page() {
        let page = 0x7f00_0004_0000;
        assert!(is_area(page + 0x200, page + 0x1000, page + 0x8000));
        assert!(is_area(page + 0x200, page + 0x40000, page + 0x40000), "full to the page's end");
        assert!(!is_area(0, 0, 0), "not used yet");
        assert!(!is_area(page + 0x1000, page + 0x200, page + 0x8000), "top before start");
        assert!(!is_area(page + 0x200, page + 0x1001, page + 0x8000), "tagged");
        assert!(!is_area(page + 0x200, page + 0x1000, page + 0x48000), "beyond the page");
    }

    #[test]
    fn a_heap_at_the_address_of_one_that_ended_is_another() {
        let address = 0x5555_1234_5678;
        assert_eq!(Heap::id_of(address, 0), address);
        assert_ne!(Heap::id_of(address, 1), Heap::id_of(address, 2));
    }
}
