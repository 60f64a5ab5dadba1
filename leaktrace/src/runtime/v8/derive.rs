//! Facts that only V8's own code tells: read off functions that are a few instructions long and do one thing.
//!
//! - `MarkCompactCollector::IsUnmarkedHeapObject` tests an object's mark bit:
//!   <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/heap/mark-compact.cc>
//! - `Runtime_InYoungGeneration` (`%InYoungGeneration`, in every build) tests its page's flags:
//!   <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/runtime/runtime-test.cc>
//! - `MarkLabStartInitialized` of allocators sets their area's start to its top:
//!   <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/heap/main-allocator.cc>
//! - `wasm::GetWasmCodeManager` returns what a variable points to:
//!   <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/wasm/wasm-engine.cc>
//!
//! Only x86-64 is decoded.

mod page;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

pub use self::page::{Marks, YoungPages};
pub(super) use self::page::{marks, young_pages};
use super::layout::Version;
use crate::binary::{Architecture, Binary, Function, LinkAddress};

/// `SpaceWithLinearArea` before V8 12, `MainAllocator` since.
const MARK_LAB_START: [&str; 2] = [
    "_ZN2v88internal13MainAllocator23MarkLabStartInitializedEv",
    "_ZN2v88internal19SpaceWithLinearArea23MarkLabStartInitializedEv",
];

const CODE_MANAGER: &str = "_ZN2v88internal4wasm18GetWasmCodeManagerEv";

/// Longer than any of the functions read here (the longest is 200 bytes): a symbol with a wrong size is not followed
/// through the whole text.
const LONGEST: usize = 1024;

/// Where an allocator has the pointer to its area {start, top, limit}: `allocation_info_->ResetStart()` is
/// `mov R,[rdi+offset]; mov S,[R+8]; mov [R],S`.
pub(super) fn allocator_area(binary: &Binary<'_>, version: Version) -> Option<u32> {
    let derived = MARK_LAB_START.into_iter().find_map(|name| {
        let code: Vec<_> = instructions(binary, function(binary, name)?).collect();
        code.windows(3).find_map(|three| reset_start(three[0], three[1], three[2]))
    });
    derived.or_else(|| known_area(version))
}

fn reset_start(load_area: Instruction, load_top: Instruction, store: Instruction) -> Option<u32> {
    let area = load_area.op0_register();
    let top = load_top.op0_register();
    let field = load(load_area, Register::RDI)?;
    let is_top = load(load_top, area)? == 8;
    let stores = store.mnemonic() == Mnemonic::Mov
        && store.op0_kind() == OpKind::Memory
        && store.op1_kind() == OpKind::Register
        && (store.memory_base(), store.memory_index()) == (area, Register::None)
        && store.memory_displacement64() == 0
        && store.op1_register() == top;
    (is_top && stores).then_some(field)
}

/// Seen in node 18, 20 and 22 to 26, for builds without the function or for another processor. The kernel side checks it
/// on the live process (`Check::Area`).
fn known_area(version: Version) -> Option<u32> {
    match version.major {
        10 => Some(0xc8),
        11 => Some(0x50),
        12..=14 => Some(0xa0),
        _ => None,
    }
}

/// Where V8 has the pointer to the manager of code made from WebAssembly: `mov rax,[rip+offset]`.
pub(super) fn code_manager(binary: &Binary<'_>) -> Option<LinkAddress> {
    let mut code = instructions(binary, function(binary, CODE_MANAGER)?);
    let load = code.find(Instruction::is_ip_rel_memory_operand)?;
    let is_load = load.mnemonic() == Mnemonic::Mov && load.op0_register() == Register::RAX;
    is_load.then(|| LinkAddress(load.ip_rel_memory_address()))
}

/// The displacement of `mov register,[base+displacement]`.
fn load(instruction: Instruction, base: Register) -> Option<u32> {
    let is_load = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().size() == 8
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_base() == base
        && instruction.memory_index() == Register::None;
    is_load.then(|| u32::try_from(instruction.memory_displacement64()).ok())?
}

fn function<'a, 'data>(binary: &'a Binary<'data>, prefix: &str) -> Option<&'a Function<'data>> {
    binary.functions().iter().find(|function| function.name.starts_with(prefix) && !is_part(function.name))
}

/// Pieces that compilers cut off functions: seldom run code, and the rest where the start was inlined.
pub(super) fn is_part(name: &str) -> bool {
    name.split('.').skip(1).any(|suffix| suffix == "cold" || suffix == "part")
}

pub(super) fn instructions<'data>(
    binary: &Binary<'data>,
    function: &Function<'data>,
) -> impl Iterator<Item = Instruction> + use<'data> {
    let code = match binary.architecture {
        Architecture::X86_64 => binary.code(function.address).unwrap_or_default(),
        _ => &[],
    };
    let code = &code[..code.len().min(function.size as usize).min(LONGEST)];
    let mut decoder = Decoder::with_ip(64, code, function.address.0, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_parts_are_told_from_clones() {
        assert!(is_part("_ZN1f.cold") && is_part("_ZN1f.part.3") && is_part("_ZN1f.constprop.0.cold"));
        assert!(!is_part("_ZN1f.constprop.1331") && !is_part("_ZN1f"));
    }
}
