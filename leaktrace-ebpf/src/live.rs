//! The table of live blocks and the counters of their stacks, changed together.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use leaktrace_common::{
    counter::Counter,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{AGE_UNIT_SHIFT, StackId, age_bucket},
};

use crate::{
    count::{add, add_u32, count},
    maps::{LIVE, STACKS, WATCHED_SINCE},
    read,
};

/// A block was handed out. Runs before the allocator's caller can know the address, so no free can come first.
#[inline(always)]
pub fn insert(process: ProcessId, address: u64, size: u64, stack: StackId) {
    let key = BlockKey::new(process, address);
    let block = Block { size, stack: stack.0, born: read::now() };
    if LIVE.insert(&key, &block, u64::from(BPF_NOEXIST)).is_err() {
        if let Some(old) = take(&key) {
            // The allocator hands an address out twice only if it was freed in between.
            freed(&old);
            let was_watched = old.born >= watched_since();
            count(if was_watched { Counter::ImplicitFree } else { Counter::FreedUnwatched });
        }
        if LIVE.insert(&key, &block, u64::from(BPF_ANY)).is_err() {
            count(Counter::LiveFull);
            return;
        }
    }
    allocated(stack, size);
}

/// See `WATCHED_SINCE`.
#[inline(always)]
pub fn watched_since() -> u64 {
    let Some(since) = WATCHED_SINCE.get_ptr(0) else { return 0 };
    // SAFETY: an aligned word of a map's value, which lives while the program runs.
    unsafe { since.read_volatile() }
}

/// Counts a block as handed out to this stack.
#[inline(always)]
pub fn allocated(stack: StackId, size: u64) {
    if let Some(entry) = STACKS.get_ptr_mut(&stack) {
        // SAFETY: both are words of a live map value.
        let (allocs, bytes) = unsafe { (&raw mut (*entry).allocs, &raw mut (*entry).alloc_bytes) };
        add(allocs, 1);
        add(bytes, size);
    }
}

/// Takes a block out of the table; the counters of its stack stay until [`freed`].
#[inline(always)]
pub fn take(key: &BlockKey) -> Option<Block> {
    // SAFETY: a copy of plain words; whoever removes the key owns the block, so a torn read cannot be used.
    let block = *unsafe { LIVE.get(key) }?;
    LIVE.remove(key).ok()?;
    Some(block)
}

/// Puts a block back that was taken and not freed after all.
#[inline(always)]
pub fn put_back(key: &BlockKey, block: &Block) {
    if LIVE.insert(key, block, u64::from(BPF_NOEXIST)).is_err() {
        freed(block);
        count(Counter::LiveFull);
    }
}

/// Counts a block that was taken as freed.
#[inline(always)]
pub fn freed(block: &Block) {
    let age = read::now().saturating_sub(block.born);
    died(block.stack(), block.size, age >> AGE_UNIT_SHIFT);
}

/// Counts a block of this stack as freed, at an age in the units of [`age_bucket`].
#[inline(always)]
pub fn died(stack: StackId, size: u64, age: u64) {
    if let Some(entry) = STACKS.get_ptr_mut(&stack) {
        let bucket = age_bucket(age);
        // SAFETY: words of a live map value, and the bucket is below their number.
        let (frees, bytes, deaths) = unsafe {
            (
                &raw mut (*entry).frees,
                &raw mut (*entry).freed_bytes,
                (&raw mut (*entry).deaths).cast::<u32>().add(bucket),
            )
        };
        add(frees, 1);
        add(bytes, size);
        add_u32(deaths, 1);
    }
}
