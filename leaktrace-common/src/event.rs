//! Records on the ring buffer. Each starts with its kind; a stack is as long as its frames.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    stack::MAX_FRAMES,
    v8::{FunctionKey, Sighting},
};

/// First word of every record.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// [`StackRecord`]
    Stack = 1,
    /// [`RegionRecord`]
    Region = 2,
    /// [`ProcessRecord`]: the process runs another program now.
    Exec = 3,
    /// [`ProcessRecord`]: a child came to be.
    Fork = 4,
    /// [`ProcessRecord`]: the main thread of the process is gone.
    Exit = 5,
    /// [`FunctionRecord`]: a JavaScript function was seen in a stack for the first time, or interpreted for the first.
    Function = 6,
    /// [`CollectionRecord`]: V8 has collected garbage.
    Collection = 7,
    /// [`HeapRecord`]: an isolate has ended, and its heap with it.
    HeapEnded = 8,
    /// [`crate::unfinished::UnfinishedRecord`]
    Unfinished = 20,
}

impl TryFrom<u32> for RecordKind {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        [
            Self::Stack,
            Self::Region,
            Self::Exec,
            Self::Fork,
            Self::Exit,
            Self::Function,
            Self::Collection,
            Self::HeapEnded,
            Self::Unfinished,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == value)
        .ok_or(value)
    }
}

/// A stack, sent once when it is first seen.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StackRecord {
    pub kind: u32,
    pub process: u32,
    pub id: u64,
    /// [`crate::stack::StopReason`]
    pub stop: u32,
    /// Number of the hook, see [`crate::hook::Cookie::hook`].
    pub hook: u32,
    pub tgid: u32,
    /// How many of `frames` are set and sent.
    pub depth: u32,
    /// [`crate::v8::Word`]s, most of them return addresses; the allocator's caller first.
    pub frames: [u64; MAX_FRAMES],
}

/// Bytes of a [`StackRecord`] before its frames.
pub const STACK_HEADER: usize = size_of::<StackRecord>() - 8 * MAX_FRAMES;

/// A mapping was made, removed or moved.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RegionRecord {
    pub kind: u32,
    pub process: u32,
    /// [`crate::hook::Shape`] of the call: `Map`, `Unmap` or `Remap`.
    pub shape: u32,
    /// `mmap`'s flags.
    pub flags: u32,
    /// `mmap`'s protection bits.
    pub protection: u32,
    pub tid: u32,
    /// New address and length in bytes; for `Unmap` what was removed.
    pub address: u64,
    pub length: u64,
    /// `Remap`: what it was before.
    pub old_address: u64,
    pub old_length: u64,
    /// [`crate::stack::StackId`] of the caller.
    pub stack: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`. An unmap that entered before a mapping returned cannot mean it.
    pub entered: u64,
    pub returned: u64,
}

/// Something happened to a process as such.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessRecord {
    pub kind: u32,
    pub tgid: u32,
    /// [`crate::process::ProcessId`] from now on: of the new program, of the child (0: not traced), of the one that ended.
    pub process: u32,
    /// The process before an exec, or the parent.
    pub before: u32,
    /// The parent's tgid, on a fork.
    pub parent_tgid: u32,
    pub padding: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
}

/// A JavaScript function, and where it is just now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FunctionRecord {
    pub kind: u32,
    pub process: u32,
    pub key: FunctionKey,
    pub seen: Sighting,
}

/// A collection of one of V8's heaps. Sizes in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CollectionRecord {
    pub kind: u32,
    pub process: u32,
    /// `v8::internal::Heap`, which tells isolates apart.
    pub heap: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`. The program stands still in between.
    pub began: u64,
    pub ended: u64,
    /// Bytes of objects before and after; 0 where that was not read.
    pub before: u64,
    pub after: u64,
    pub tid: u32,
    /// `v8::internal::GarbageCollector`: 0 scavenger, 1 mark-compact, 2 minor mark-sweep.
    pub collector: u32,
    /// `v8::internal::GarbageCollectionReason`
    pub reason: u32,
    /// Samples that were looked at, and how many of them had died.
    pub looked_at: u32,
    pub died: u32,
    /// How long that took, in nanoseconds: the program waited for it.
    pub looking: u32,
}

/// One of V8's heaps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HeapRecord {
    pub kind: u32,
    pub process: u32,
    /// [`crate::v8::Heap::id`]
    pub heap: u64,
}
