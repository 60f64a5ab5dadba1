//! `std::map` with addresses as keys, as libstdc++ has it: a red-black tree whose header is in the map.
//! <https://github.com/gcc-mirror/gcc/blob/releases/gcc-14/libstdc%2B%2B-v3/include/bits/stl_tree.h>
//!
//! The program goes on, so that a tree may be rebuilt under the reader's eyes: callers check what they find.

use super::is_pointer;
use crate::process::ReadUser;

/// Words of the header: its colour, the root, the first and the last node, and the number of nodes.
pub(super) const WORDS: usize = 5;

/// From a node.
const PARENT: u64 = 8;
const LEFT: u64 = 16;
const RIGHT: u64 = 24;
pub(super) const KEY: u64 = 32;
pub(super) const VALUE: u64 = 40;

/// A tree of 2^32 nodes has at most this many levels.
const MAX_DEPTH: usize = 64;
const MAX_COUNT: u64 = 1 << 32;

/// The node of the greatest key that is not above `key`; none where this is the header of no map, or of an empty one. `words`
/// is what stands at `header`.
pub(super) fn not_above(memory: &impl ReadUser, header: u64, words: &[u64; WORDS], key: u64) -> Option<u64> {
    let [_, root, first, last, count] = *words;
    if !([root, first, last].into_iter().all(is_pointer) && (1..=MAX_COUNT).contains(&count))
        || memory.word(root.checked_add(PARENT)?)? != header
    {
        return None;
    }
    let (mut node, mut found) = (root, None);
    for _ in 0..MAX_DEPTH {
        let is_above = memory.word(node.checked_add(KEY)?)? > key;
        if !is_above {
            found = Some(node);
        }
        node = memory.word(node.checked_add(if is_above { LEFT } else { RIGHT })?)?;
        if node == 0 {
            return found;
        }
    }
    None
}
