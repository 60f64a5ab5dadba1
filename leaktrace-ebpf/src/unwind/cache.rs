//! Rules found before, by address: most frames need no search.
//!
//! CPUs write it without a lock. An entry is two words, the rule and the rule mixed with the address's tag, and
//! counts only if both fit: a torn or overwritten entry is not found. The tag holds the process and its
//! generation, so that nothing is found that was put there before the process's mappings changed.

use leaktrace_common::{
    process::ProcessId,
    unwind::{PackedRule, Rule},
};

use crate::maps::RULE_CACHE;

const BITS: u32 = 14;

/// Value of the map `RULE_CACHE`.
#[repr(transparent)]
pub struct RuleCache([Entry; 1 << BITS]);

#[repr(C)]
struct Entry {
    tagged: u64,
    rule: u64,
}

/// Where the rule of an address would be.
#[derive(Clone, Copy)]
pub struct Place {
    tag: u64,
    entry: *mut Entry,
}

/// What tells a process's entries from others'.
#[inline(always)]
pub fn tag(process: ProcessId, generation: u32) -> u64 {
    (u64::from(process.0) << 32 | u64::from(generation)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The one value of the map.
#[inline(always)]
pub fn all() -> Option<*mut RuleCache> {
    RULE_CACHE.get_ptr_mut(0)
}

/// Where in `cache`, which is what [`all`] returned, the rule of `pc` would be.
#[inline(always)]
pub fn place(cache: *mut RuleCache, process: u64, pc: u64) -> Place {
    // Nothing of more than a few cycles: the next frame waits for this.
    let tag = pc ^ process;
    let index = (tag ^ tag >> BITS) as usize & ((1 << BITS) - 1);
    // SAFETY: the index is below the array's length, and the map's value lives as long as the program runs.
    Place { tag, entry: unsafe { &raw mut (*cache).0[index] } }
}

impl Place {
    #[inline(always)]
    pub fn get(self) -> Option<Rule> {
        // SAFETY: an entry of the map, see `place`. Volatile, as others write it meanwhile.
        let (rule, tagged) = unsafe {
            (
                (&raw const (*self.entry).rule).read_volatile(),
                (&raw const (*self.entry).tagged).read_volatile(),
            )
        };
        (rule ^ tagged == self.tag).then(|| PackedRule(rule).unpack())
    }

    #[inline(always)]
    pub fn put(self, rule: Rule) {
        let Some(PackedRule(rule)) = PackedRule::pack(rule) else { return };
        // SAFETY: as in `get`.
        unsafe {
            (&raw mut (*self.entry).rule).write_volatile(rule);
            (&raw mut (*self.entry).tagged).write_volatile(rule ^ self.tag);
        }
    }
}
