//! Objects of V8's heap: pages, marks, types.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use leaktrace_common::{
    process::ProcessId,
    v8::{FunctionKey, Layout, PAGE},
};

use super::{cache, function};
use crate::read;

/// Maps from which others were made that are followed to the constructor: an object that got its properties one by one
/// has one for each, and V8 lets it have this many before it becomes a dictionary
/// (<https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/property-details.h>, `kMaxNumberOfDescriptors`).
const LONGEST_CHAIN: u32 = 1020;
/// Objects that one request of compiled code is looked through for; V8 folds as many as fit in 128 KiB, mostly two or three.
const MOST_FOLDED: u32 = 16;

/// Whether a word is a tagged pointer to an object.
#[inline(always)]
pub const fn is_tagged(word: u64) -> bool {
    word & 3 == 1
}

/// Where the page of the object at `address` begins.
#[inline(always)]
pub const fn page(address: u64) -> u64 {
    address & !(PAGE - 1)
}

#[inline(always)]
pub fn page_flags(layout: &Layout, address: u64) -> Option<u64> {
    read::user_word(page(address) + u64::from(layout.page_flags))
}

/// Whether the object at `address` lies among the young ones.
#[inline(always)]
pub fn is_young(layout: &Layout, address: u64) -> Option<bool> {
    Some(page_flags(layout, address)? & u64::from(layout.young_flags) != 0)
}

/// Whether the collector has found the object at `address` alive.
#[inline(always)]
pub fn is_marked(layout: &Layout, address: u64) -> Option<bool> {
    let page = page(address);
    let base = match layout.page_metadata {
        0 => page,
        offset => read::user_word(page + u64::from(offset))?,
    };
    let bit = (address & (PAGE - 1)) >> 3;
    let cell = read::user_word(base + u64::from(layout.mark_bitmap) + (bit >> 6) * 8)?;
    Some(cell >> (bit & 63) & 1 == 1)
}

/// The instance type of a map, a tagged pointer.
#[inline(always)]
pub fn instance_type(layout: &Layout, map: u64) -> Option<u16> {
    if !is_tagged(map) {
        return None;
    }
    read::user_u16(map - 1 + u64::from(layout.map_instance_type))
}

/// The constructor of objects with this map.
#[inline(always)]
pub fn constructor(layout: &Layout, process: ProcessId, map: u64) -> FunctionKey {
    let place = cache::place(process, layout.state.collections, map, cache::Of::Map);
    if let Some(key) = place.get() {
        return key;
    }
    let key = find_constructor(layout, process, map).unwrap_or_default();
    place.put(key);
    key
}

#[inline(always)]
fn find_constructor(layout: &Layout, process: ProcessId, map: u64) -> Option<FunctionKey> {
    let Layout { map_constructor, map_instance_type, map_type, .. } = *layout;
    let mut chain = Chain { at: map, kind: 0, map_constructor, map_instance_type, map_type };
    // SAFETY: `follow` is given this context and nothing else, and it outlives the call.
    unsafe {
        bpf_loop(LONGEST_CHAIN, follow as *const () as *mut c_void, (&raw mut chain).cast(), 0);
    }
    let is_function = chain.kind >= layout.first_function_type && chain.kind <= layout.last_function_type;
    is_function.then(|| function::key_of(layout, process, chain.at, 0)).flatten()
}

/// Where a walk from a map to its constructor is; the context of `bpf_loop`, which wants it on the stack.
#[repr(C)]
struct Chain {
    at: u64,
    /// The instance type of what is there once it is no map; 0 while it is one, and where it cannot be read.
    kind: u32,
    map_constructor: u32,
    map_instance_type: u32,
    map_type: u32,
}

/// From a map to the one it was made from, or to the constructor.
unsafe extern "C" fn follow(_: u32, chain: *mut Chain) -> i64 {
    // SAFETY: the context of `find_constructor`, which is not used meanwhile.
    let chain = unsafe { &mut *chain };
    let Some(found) = read::user_word(chain.at - 1 + u64::from(chain.map_constructor)) else { return 1 };
    if !is_tagged(found) {
        return 1;
    }
    let Some(map) = read::user_word(found - 1).filter(|map| is_tagged(*map)) else { return 1 };
    let Some(kind) = read::user_u16(map - 1 + u64::from(chain.map_instance_type)) else { return 1 };
    chain.at = found;
    if u32::from(kind) == chain.map_type {
        return 0;
    }
    chain.kind = u32::from(kind);
    1
}

/// One of the objects that `size` bytes from `address` on hold, each as likely as it is large: compiled code asks for
/// several at once. Its address and size; the first one's address and the whole size where that cannot be told.
#[inline(always)]
pub fn pick(layout: &Layout, address: u64, size: u32) -> (u64, u32) {
    const HEADER: u32 = 16;
    if size <= HEADER + 8 || u64::from(size) > PAGE {
        return (address, size);
    }
    let wanted = ((u64::from(read::random()) * u64::from(size)) >> 32) as u32;
    let mut offset = 0u32;
    for _ in 0..MOST_FOLDED {
        let at = address + u64::from(offset);
        let Some(one) = size_of(layout, at) else { break };
        if one < 8 || one > size {
            break;
        }
        if wanted < offset + one {
            return (at, one);
        }
        offset += one;
        if offset >= size {
            break;
        }
    }
    (address, size)
}

/// Bytes of the object at `address`, if its map or its length says it.
#[inline(always)]
fn size_of(layout: &Layout, address: u64) -> Option<u32> {
    let map = read::user_word(address)?;
    if !is_tagged(map) {
        return None;
    }
    let words = read::user_u8(map - 1 + u64::from(layout.map_instance_size))?;
    if words != 0 {
        return Some(u32::from(words) * 8);
    }
    // An array, which has its length as a small integer after the map.
    let length = read::user_word(address + 8)?;
    (length & 0xffff_ffff == 0).then(|| 16 + ((length >> 32) as u32).wrapping_mul(8))
}
