//! Whether what the agent made out of V8's binary holds in the running process. What does not is given up here, at once,
//! and the agent says so.

use leaktrace_common::v8::{Check, Layout};

use super::object::{self, instance_type, is_tagged};
use crate::{read, regs::Regs};

/// Frames above a collection that are searched for a function: V8's own are some twenty.
const SEARCHED: u32 = 48;
/// Flags of a page are fewer than this; any pointer is above.
const FLAGS: u64 = 1 << 32;

#[inline(always)]
pub fn is_wanted(layout: &Layout, check: Check) -> bool {
    layout.can & check.carries() != 0 && !layout.state.checked[check as usize].is_done(check)
}

#[inline(always)]
pub fn note(layout: &mut Layout, check: Check, holds: bool) {
    if layout.state.checked[check as usize].note(check, holds) {
        layout.state.given_up |= check.carries();
        layout.can &= !check.carries();
    }
}

/// Of a sampled object, which is filled in.
#[inline(always)]
pub fn object(layout: &mut Layout, address: u64) {
    if is_wanted(layout, Check::Maps)
        && let Some(map) = read::user_word(address)
    {
        note(layout, Check::Maps, is_map(layout, map));
    }
    // That flags are such says little; that they are not says all.
    if is_wanted(layout, Check::Pages)
        && let Some(flags) = object::page_flags(layout, address)
        && (flags >= FLAGS || flags & u64::from(layout.young_flags) == u64::from(layout.young_flags))
    {
        note(layout, Check::Pages, false);
    }
}

/// Of an object that is taken for old, when young ones have moved.
#[inline(always)]
pub fn old_object(layout: &mut Layout, address: u64) {
    if let Some(word) = read::user_word(address) {
        note(layout, Check::Pages, is_tagged(word));
    }
}

#[inline(always)]
fn is_map(layout: &Layout, map: u64) -> bool {
    let kind = |map| instance_type(layout, map).map(u32::from);
    is_tagged(map) && read::user_word(map - 1).and_then(kind) == Some(layout.map_type)
}

/// When marks are final: a function that runs lives, and no object begins within it (V8 before 12 has two bits an object) or
/// where its page begins. What cannot be read is no mark: this function's was written a moment ago.
#[inline(always)]
pub fn marks(layout: &mut Layout, regs: Regs<'_>) {
    if !is_wanted(layout, Check::Marks) {
        return;
    }
    let mut frame_pointer = regs.frame_pointer();
    for _ in 0..SEARCHED {
        // The function, the context, the caller's frame.
        let mut words = [0; 3];
        if !read::user(frame_pointer.wrapping_sub(16), &mut words) || words[2] <= frame_pointer {
            return;
        }
        let [function, context, caller] = words;
        if is_tagged(context) && is_tagged(function) && is_function(layout, function) {
            let at = function - 1;
            let is_marked = |address| object::is_marked(layout, address).unwrap_or(false);
            let holds = is_marked(at)
                && !is_marked(at + 16)
                && !is_marked(at + 24)
                && !is_marked(at + 32)
                && !is_marked(object::page(at));
            note(layout, Check::Marks, holds);
            return;
        }
        frame_pointer = caller;
    }
}

#[inline(always)]
fn is_function(layout: &Layout, object: u64) -> bool {
    let kind = read::user_word(object - 1).and_then(|map| instance_type(layout, map)).map(u32::from);
    kind.is_some_and(|kind| kind >= layout.first_function_type && kind <= layout.last_function_type)
}
