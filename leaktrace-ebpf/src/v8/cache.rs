//! Functions found before, by the address of their object: five reads of user memory saved. Objects move in collections
//! only, so the tag holds how many there were. Of the same make as `unwind::cache`.

use leaktrace_common::{process::ProcessId, v8::FunctionKey};

use crate::maps::{V8_FUNCTION_CACHE, compared};

const BITS: u32 = 13;

/// Value of the map `V8_FUNCTION_CACHE`.
#[repr(transparent)]
pub struct FunctionCache([Entry; 1 << BITS]);

#[repr(C)]
struct Entry {
    tagged: u64,
    key: u64,
}

/// What an address is of: the same address may be asked for each.
#[derive(Clone, Copy)]
pub enum Of {
    /// A function in compiled code.
    Compiled = 0,
    /// A function that is interpreted, whose bytecode was seen.
    Interpreted = 1,
    /// A map, for its constructor.
    Map = 2,
}

#[derive(Clone, Copy)]
pub struct Place {
    tag: u64,
    entry: Option<*mut Entry>,
}

/// Where the key for `object` would be.
#[inline(always)]
pub fn place(process: ProcessId, collections: u64, object: u64, of: Of) -> Place {
    let time =
        (u64::from(process.0) << 40 ^ collections << 2 ^ of as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let tag = object.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ time;
    let index = (tag >> (64 - BITS)) as usize & ((1 << BITS) - 1);
    // SAFETY: the index is below the array's length, and the map's value lives as long as the program runs.
    let entry = V8_FUNCTION_CACHE.get_ptr_mut(0).map(|all| unsafe { &raw mut (*compared(all)).0[index] });
    Place { tag, entry }
}

impl Place {
    #[inline(always)]
    pub fn get(self) -> Option<FunctionKey> {
        let entry = self.entry?;
        // SAFETY: an entry of the map, see `place`. Volatile, as other CPUs write it meanwhile.
        let (key, tagged) = unsafe {
            ((&raw const (*entry).key).read_volatile(), (&raw const (*entry).tagged).read_volatile())
        };
        (key ^ tagged == self.tag).then_some(FunctionKey(key))
    }

    #[inline(always)]
    pub fn put(self, key: FunctionKey) {
        let Some(entry) = self.entry else { return };
        // SAFETY: as in `get`.
        unsafe {
            (&raw mut (*entry).key).write_volatile(key.0);
            (&raw mut (*entry).tagged).write_volatile(key.0 ^ self.tag);
        }
    }
}
