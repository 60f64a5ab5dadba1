//! Strings of V8's heap, which are trees: concatenations, slices, and names for other strings.
//!
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/string.h>,
//! types in <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/instance-type.h>.

use super::{
    NotRead,
    object::{FIRST_NOT_STRING, Heap, Tagged},
};
use crate::process::ReadUser;

/// Bits of a string's instance type: what it is, of which width, and whether V8 keeps no pointer to the characters.
const REPRESENTATION: u16 = 7;
const ONE_BYTE: u16 = 8;
const UNCACHED: u16 = 0x10;

/// The same in every version from node 18 on.
const LENGTH: u32 = 0xc;
const CHARACTERS: u32 = 0x10;
const FIRST: u32 = 0x10;
const SECOND: u32 = 0x18;
const EXTERNAL_DATA: u32 = 0x18;

/// Parts of one string. Names have few; a source is made flat before it is compiled, which leaves one or two. More is
/// a ring made to keep us busy.
const MAX_PARTS: usize = 1 << 12;

/// Characters read at once.
const CHUNK: u32 = 1 << 15;

/// A part of a string: characters `from` to `from + count` of `string`.
struct Part {
    string: Tagged,
    from: u32,
    count: u32,
}

/// UTF-16 units of a string.
pub(super) fn length<M: ReadUser>(heap: Heap<'_, M>, string: Tagged) -> Result<u32, NotRead> {
    match heap.instance_type(string) {
        Some(kind) if kind < FIRST_NOT_STRING => {
            let length = heap.u32(string.field(LENGTH)).ok_or(NotRead::Unreadable)?;
            // V8's own limit is below 2^30.
            if length < 1 << 30 { Ok(length) } else { Err(NotRead::Malformed) }
        }
        Some(_) => Err(NotRead::Malformed),
        None => Err(NotRead::Unreadable),
    }
}

/// At most `limit` characters, with a mark where there are more. Control characters, which would reach a terminal, are
/// replaced.
pub(super) fn text<M: ReadUser>(heap: Heap<'_, M>, string: Tagged, limit: u32) -> Result<String, NotRead> {
    let length = length(heap, string)?;
    let mut units = Vec::new();
    walk(heap, Part { string, from: 0, count: length.min(limit) }, |chunk| units.extend_from_slice(chunk))?;
    let mut text = String::from_utf16_lossy(&units);
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, "\u{fffd}");
    }
    if length > limit {
        text.push('…');
    }
    Ok(text)
}

/// All of it, in order. The caller has bounded its length.
pub(super) fn each_chunk<M: ReadUser>(
    heap: Heap<'_, M>,
    string: Tagged,
    visit: impl FnMut(&[u16]),
) -> Result<(), NotRead> {
    let count = length(heap, string)?;
    walk(heap, Part { string, from: 0, count }, visit)
}

fn walk<M: ReadUser>(heap: Heap<'_, M>, whole: Part, mut visit: impl FnMut(&[u16])) -> Result<(), NotRead> {
    let mut left = vec![whole];
    let mut parts = 0;
    while let Some(Part { string, from, count }) = left.pop() {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(NotRead::Malformed);
        }
        if count == 0 {
            continue;
        }
        let kind = heap.instance_type(string).ok_or(NotRead::Unreadable)?;
        let end = from.checked_add(count).ok_or(NotRead::Malformed)?;
        if end > length(heap, string)? {
            return Err(NotRead::Malformed);
        }
        let child = |offset| heap.pointer(string, offset).ok_or(NotRead::Malformed);
        match kind & REPRESENTATION {
            // Sequential: the characters stand here.
            0 => read(heap, string.field(CHARACTERS), kind, from, count, &mut visit)?,
            // Concatenated.
            1 => {
                let (first, second) = (child(FIRST)?, child(SECOND)?);
                let middle = length(heap, first)?;
                let in_first = middle.saturating_sub(from).min(count);
                left.push(Part {
                    string: second,
                    from: (from + in_first).saturating_sub(middle),
                    count: count - in_first,
                });
                left.push(Part { string: first, from, count: in_first });
            }
            // External: the characters are outside the heap.
            2 if kind & UNCACHED == 0 => {
                let data = heap.word(string.field(EXTERNAL_DATA)).ok_or(NotRead::Unreadable)?;
                read(heap, data, kind, from, count, &mut visit)?;
            }
            2 => return Err(NotRead::NoSource),
            // A slice of its parent.
            3 => {
                let offset = heap.integer(string, SECOND).and_then(|offset| u32::try_from(offset).ok());
                let from = offset.and_then(|offset| offset.checked_add(from)).ok_or(NotRead::Malformed)?;
                left.push(Part { string: child(FIRST)?, from, count });
            }
            // Thin: another name for an equal string.
            5 => left.push(Part { string: child(FIRST)?, from, count }),
            _ => return Err(NotRead::Malformed),
        }
    }
    Ok(())
}

fn read<M: ReadUser>(
    heap: Heap<'_, M>,
    characters: u64,
    kind: u16,
    mut from: u32,
    mut count: u32,
    visit: &mut impl FnMut(&[u16]),
) -> Result<(), NotRead> {
    let width = if kind & ONE_BYTE == 0 { 2 } else { 1 };
    while count > 0 {
        let now = count.min(CHUNK);
        let address = characters.wrapping_add(u64::from(from) * width);
        let bytes = heap.bytes(address, now as usize * width as usize).ok_or(NotRead::Unreadable)?;
        let units: Vec<u16> = match width {
            1 => bytes.into_iter().map(u16::from).collect(),
            _ => bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect(),
        };
        visit(&units);
        from += now;
        count -= now;
    }
    Ok(())
}
