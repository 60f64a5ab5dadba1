//! The unwind tables' memory, as `leaktrace_common::unwind` wants to see it.

use leaktrace_common::unwind::{Arena, CHUNK_WORDS, Ref};

use crate::maps::ARENA;

/// The map `ARENA`.
#[derive(Clone, Copy)]
pub struct Maps;

impl Arena for Maps {
    type Chunk = *const u32;

    #[inline(always)]
    fn chunk(self, place: Ref) -> Option<*const u32> {
        Some(ARENA.get_value(place.chunk(), &0)?.as_ptr())
    }

    #[inline(always)]
    fn word(chunk: *const u32, index: u32) -> u32 {
        // SAFETY: the mask keeps the index within the chunk, whose map lives as long as the program runs.
        unsafe { *chunk.add(index as usize & (CHUNK_WORDS - 1)) }
    }

    #[inline(always)]
    fn double(chunk: *const u32, index: u32) -> u64 {
        // SAFETY: as above, both words; the mask makes the index even, and chunks are aligned to pages.
        unsafe { *chunk.add(index as usize & (CHUNK_WORDS - 2)).cast::<u64>() }
    }

    /// The shift is hidden from LLVM, which would make a branch of the mask, see `leaktrace_common::unwind`.
    #[inline(always)]
    fn at_most(a: u64, b: u64) -> u32 {
        let mut difference = b.wrapping_sub(a);
        // SAFETY: one instruction on one register, without memory.
        unsafe { core::arch::asm!("{0} s>>= 63", inout(reg) difference, options(pure, nomem, nostack)) };
        !(difference as u32)
    }
}
