//! From an address in machine code to the module and the number of its function.

use super::{is_pointer, tree, words};
use crate::process::ReadUser;

/// Bytes of the code manager and of a `NativeModule` in which their maps are looked for: they begin at 0x28 to 0x50 and at
/// 0x138 to 0x1a8 in node 18 to 26.
const MANAGER: u64 = 0x200;
pub(super) const MODULE: u64 = 0x400;

/// New code waits in an array before it comes into the map: as many entries as are looked at. Large programs have some 100,000
/// functions.
const MAX_NEW: u64 = 1 << 17;

/// In a node of the manager's map: where the region ends, and whose code it holds.
const REGION_END: u64 = tree::VALUE;
const REGION_MODULE: u64 = tree::VALUE + 8;

/// In `WasmCode`, which begins with its module and its instructions, in every version seen.
const INSTRUCTIONS: u64 = 8;

/// As in V8 10, 11 and 12, and since a hash of the signature is before them (in 13 at the latest).
const LAYOUTS: [Layout; 3] = [
    Layout { size: 0x20, index: 0x30 },
    Layout { size: 0x18, index: 0x2c },
    Layout { size: 0x20, index: 0x38 },
];

/// The number of what is not a function's code, jump tables above all.
const ANONYMOUS: u32 = u32::MAX;

/// Where `WasmCode` has what is read of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Bytes of its instructions.
    size: u64,
    /// Its function's number.
    index: u64,
}

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// Address of the `NativeModule`.
    pub(super) module: u64,
    /// The function's number in its module, imported ones counted.
    pub(super) index: u32,
}

/// The function whose code has `pc`. `manager` is where the pointer to the code manager is; `layout` is found out with the first.
pub(super) fn find(
    memory: &impl ReadUser,
    manager: u64,
    pc: u64,
    layout: &mut Option<Layout>,
) -> Option<Code> {
    let manager = memory.word(manager).filter(|manager| is_pointer(*manager))?;
    let found = words(memory, manager, MANAGER);
    let (start, module) =
        maps(manager, &found).find_map(|(header, words)| region(memory, header, words, pc))?;
    let code = code_at(memory, module, pc)?;
    if layout.is_none() {
        // A region begins with its jump table: that says where numbers are.
        let table = code_at(memory, module, start).filter(|table| *table != code)?;
        let is_table = |layout: &Layout| memory.u32(table + layout.index) == Some(ANONYMOUS);
        *layout = LAYOUTS.into_iter().find(is_table);
    }
    let Layout { size, index } = (*layout)?;
    let into = pc.checked_sub(memory.word(code + INSTRUCTIONS)?)?;
    let (size, index) = (memory.u32(code + size)?, memory.u32(code + index)?);
    (into < u64::from(size) && index != ANONYMOUS).then_some(Code { module, index })
}

/// Every place of an object that may be a map's header, and what stands there.
fn maps(object: u64, words: &[u64]) -> impl Iterator<Item = (u64, &[u64; tree::WORDS])> {
    words.array_windows().zip((object..).step_by(8)).map(|(words, header)| (header, words))
}

/// Start and module of the region that has `pc`, if this is the header of the map of regions.
fn region(memory: &impl ReadUser, header: u64, words: &[u64; tree::WORDS], pc: u64) -> Option<(u64, u64)> {
    let node = tree::not_above(memory, header, words, pc)?;
    let start = memory.word(node + tree::KEY)?;
    let end = memory.word(node + REGION_END)?;
    let module = memory.word(node + REGION_MODULE)?;
    ((start..end).contains(&pc) && is_pointer(module)).then_some((start, module))
}

/// The `WasmCode` of this module that begins last at or before `pc`.
fn code_at(memory: &impl ReadUser, module: u64, pc: u64) -> Option<u64> {
    let found = words(memory, module, MODULE);
    let known = maps(module, &found).filter_map(|(header, words)| {
        let node = tree::not_above(memory, header, words, pc)?;
        memory.word(node + tree::VALUE)
    });
    let new = found.array_windows().filter_map(|array| new_code(memory, module, *array, pc));
    last(memory, module, known.chain(new), pc)
}

/// Of an array of new code, {start, end, end of its room}: the entry that begins last at or before `pc`.
fn new_code(memory: &impl ReadUser, module: u64, [begin, end, room]: [u64; 3], pc: u64) -> Option<u64> {
    let length = end.checked_sub(begin).filter(|length| length.is_multiple_of(8))?;
    if !is_pointer(begin) || end > room || !(8..=8 * MAX_NEW).contains(&length) {
        return None;
    }
    // An array of something else ends with what is no code.
    let codes = (begin..end).step_by(8).map_while(|entry| {
        let code = memory.word(entry)?;
        start(memory, module, code).map(|_| code)
    });
    last(memory, module, codes, pc)
}

/// Of what is code of this module among `candidates`: the one that begins last at or before `pc`.
fn last(memory: &impl ReadUser, module: u64, candidates: impl Iterator<Item = u64>, pc: u64) -> Option<u64> {
    let starts = candidates.filter_map(|code| Some((start(memory, module, code)?, code)));
    starts.filter(|(start, _)| *start <= pc).max().map(|(_, code)| code)
}

/// Where the instructions of `code` begin, if that is a `WasmCode` of this module.
fn start(memory: &impl ReadUser, module: u64, code: u64) -> Option<u64> {
    let is_code = is_pointer(code) && memory.word(code)? == module;
    is_code.then(|| memory.word(code + INSTRUCTIONS))?
}
