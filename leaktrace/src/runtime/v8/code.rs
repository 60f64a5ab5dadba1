//! `Code`: compiled functions, found by an address in their instructions.
//!
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/code.h>; where instructions lie apart, their header is
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/instruction-stream.h>.

use std::ops::Range;

use leaktrace_common::v8::PAGE;

use super::{
    NotRead, function,
    object::{Heap, Tagged, smi},
    positions::Position,
};
use crate::process::ReadUser;

/// Larger instructions or tables than V8 makes (it refuses to optimise bytecode above 60 KiB).
const MAX_TABLE: usize = 8 << 20;
const MAX_SIZE: u32 = 64 << 20;

/// Behind the map of an `InstructionStream`.
const STREAM_CODE: usize = 8;

/// Read at once in the search for a header.
const CHUNK: u64 = 1 << 14;

const KIND_MASK: u32 = 0xf;

/// A `Code` and where its instructions lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) code: Tagged,
    pub(super) instructions: Range<u64>,
    pub(super) kind: u32,
}

pub(super) fn at<M: ReadUser>(heap: Heap<'_, M>, code: Tagged) -> Option<Found> {
    let layout = heap.layout.code;
    if !heap.is_a(code, heap.layout.types.code) {
        return None;
    }
    let field = code.field(layout.start);
    let start = if layout.is_split { heap.word(field)? } else { field };
    let size = heap.u32(code.field(layout.size)).filter(|size| *size <= MAX_SIZE)?;
    let kind = heap.u32(code.field(layout.flags))? & KIND_MASK;
    Some(Found { code, instructions: start..start.checked_add(u64::from(size))?, kind })
}

/// Searches the page backwards for the header whose instructions hold `pc`. `header_map` is the map of such headers,
/// once one was found: with it other words cost nothing.
///
/// Code too large for a page has pages of its own, and of those only the first is searched.
pub(super) fn search<M: ReadUser>(
    heap: Heap<'_, M>,
    pc: u64,
    header_map: &mut Option<Tagged>,
) -> Option<Found> {
    if header_map.is_some()
        && let Some(found) = search_for(heap, pc, *header_map)
    {
        return Some(found);
    }
    let found = search_for(heap, pc, None)?;
    *header_map = header_of(heap, &found).and_then(|header| Tagged::of(heap.word(header)?));
    Some(found)
}

fn header_of<M: ReadUser>(heap: Heap<'_, M>, found: &Found) -> Option<u64> {
    if !heap.layout.code.is_split {
        return Some(found.code.field(0));
    }
    // Headers are a few words.
    (1..16).map(|words| found.instructions.start.wrapping_sub(words * 8)).find(|address| {
        heap.words(*address)
            .is_some_and(|[map, code]: [u64; 2]| Tagged::of(map).is_some() && code == found.code.word())
    })
}

fn search_for<M: ReadUser>(heap: Heap<'_, M>, pc: u64, map: Option<Tagged>) -> Option<Found> {
    let page = pc & !(PAGE - 1);
    let mut end = pc & !7;
    while end > page {
        let start = page.max(end.saturating_sub(CHUNK));
        // One word more: a header's second word may be in the chunk behind.
        let bytes = heap.bytes(start, (end - start) as usize + 8)?;
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        for (index, pair) in words.windows(2).enumerate().rev() {
            let is_header = match (map, Tagged::of(pair[0])) {
                (Some(map), Some(found)) => map == found,
                (None, Some(_)) => pair[0] >> 47 == 0,
                _ => false,
            };
            if !is_header {
                continue;
            }
            let header = start + index as u64 * 8;
            let code = if heap.layout.code.is_split {
                Tagged::of(pair[STREAM_CODE / 8]).filter(|code| code.field(0).is_multiple_of(8))
            } else {
                Tagged::of(header + 1)
            };
            let found = code.and_then(|code| at(heap, code));
            if let Some(found) = found.filter(|found| found.instructions.contains(&pc)) {
                return Some(found);
            }
        }
        end = start;
    }
    None
}

/// The bytes of its source position table; of baseline code, of its bytecode offset table.
pub(super) fn table<M: ReadUser>(heap: Heap<'_, M>, code: Tagged) -> Result<Vec<u8>, NotRead> {
    let table = heap.pointer(code, heap.layout.code.source_positions).ok_or(NotRead::NoPosition)?;
    heap.array_bytes(table, MAX_TABLE).ok_or(NotRead::Unreadable)
}

/// The bytecode that baseline code was made of.
pub(super) fn bytecode<M: ReadUser>(heap: Heap<'_, M>, code: Tagged) -> Result<Vec<u8>, NotRead> {
    let layout = &heap.layout.bytecode;
    let array = function::bytecode(heap, code).ok_or(NotRead::NoPosition)?;
    let length = heap.integer(array, layout.length).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= MAX_TABLE).ok_or(NotRead::Malformed)?;
    heap.bytes(array.field(layout.data), length).ok_or(NotRead::Unreadable)
}

/// A call that was inlined into optimised code: from where, and to what; none for the code's own function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inlined {
    pub(super) from: Position,
    pub(super) shared: Option<Tagged>,
}

/// In the order in which positions number them.
pub(super) fn inlined<M: ReadUser>(heap: Heap<'_, M>, code: Tagged) -> Option<Vec<Inlined>> {
    /// `InliningPosition`: a position (8 bytes), the function's number (4), padding.
    const SIZE: usize = 16;
    /// Positions have 16 bits to number them.
    const MAX_BYTES: usize = SIZE << 16;

    let layout = heap.layout.deopt;
    let data = heap.pointer(code, heap.layout.code.deopt)?;
    let element = |index| heap.word(heap.element(data, index));
    let count = smi(element(layout.inlined_count)?)?;
    let literals = Tagged::of(element(layout.literals)?)?;
    let positions = Tagged::of(element(layout.inlining_positions)?)?;
    let bytes = heap.array_bytes(positions, MAX_BYTES)?;
    let record = |record: &[u8; SIZE]| {
        let (position, function) = record.split_at(8);
        let from = Position(u64::from_le_bytes(position.try_into().ok()?));
        let function = i32::from_le_bytes(function[..4].try_into().ok()?);
        let literal = u32::try_from(function).ok().filter(|_| function < count);
        let shared = literal.and_then(|literal| Tagged::of(heap.word(heap.element(literals, literal))?));
        Some(Inlined { from, shared })
    };
    bytes.as_chunks().0.iter().map(record).collect()
}
