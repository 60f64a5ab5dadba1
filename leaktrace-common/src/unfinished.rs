//! What the agent needs to finish a stack whose walk met code that there were no tables for (yet).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::unwind::Registers;

/// Words of stack memory that are copied: 8 KiB hold the rest of nearly every stack at a program's start.
pub const COPIED_WORDS: usize = 1024;
/// Return probes pending above the place where the walk stopped; what is beyond them stays unknown code.
pub const PENDING: usize = 8;

/// A return address that a pending return probe has replaced on the stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PendingReturn {
    /// See `Architecture::RETURN_PROBE_KEY`; [`PendingReturn::NOWHERE`] where there is none.
    pub key: u64,
    pub original: u64,
}

impl PendingReturn {
    pub const NOWHERE: u64 = u64::MAX;
}

/// Sent after the [`crate::event::StackRecord`] of the same id, which has the frames up to here.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UnfinishedRecord {
    /// [`crate::event::RecordKind::Unfinished`]
    pub kind: u32,
    pub process: u32,
    pub id: u64,
    pub tgid: u32,
    /// How many of `words` are set and sent.
    pub count: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`: code that was mapped later is not what ran here.
    pub at: u64,
    /// Where the walk stopped; nothing of it is still to be read from below its stack pointer.
    pub registers: Registers,
    /// Growing keys.
    pub pending: [PendingReturn; PENDING],
    /// The stack from `registers.stack_pointer` on.
    pub words: [u64; COPIED_WORDS],
}

impl Registers {
    /// Reads what is remembered by place only, for a walk that goes on where that memory is not at hand. What
    /// cannot be read ends the walk where it is needed, as ever.
    #[inline(always)]
    pub fn load(&mut self, mut stack_word: impl FnMut(u64) -> Option<u64>) {
        if self.frame_pointer_at != 0
            && let Some(value) = stack_word(self.frame_pointer_at)
        {
            self.frame_pointer = value;
            self.frame_pointer_at = 0;
        }
        if self.second_at != 0
            && let Some(value) = stack_word(self.second_at)
        {
            self.second = value;
            self.second_at = 0;
        }
    }
}

/// Bytes of an [`UnfinishedRecord`] before its words.
pub const UNFINISHED_HEADER: usize = size_of::<UnfinishedRecord>() - 8 * COPIED_WORDS;

const _: () = assert!(UNFINISHED_HEADER == 32 + size_of::<Registers>() + 16 * PENDING);
