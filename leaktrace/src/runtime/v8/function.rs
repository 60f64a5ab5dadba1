//! `SharedFunctionInfo`: what all closures made of one function literal share.
//!
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/shared-function-info.tq>

use leaktrace_common::v8::FunctionKey;

use super::{
    NotRead,
    object::{Heap, Tagged},
    scope::{self, MAX_NAME},
    script, string,
};
use crate::process::ReadUser;

/// `UncompiledData`, of functions that were not compiled yet or whose bytecode was dropped: an inferred name, then
/// start and end as 4 bytes each. The same in every version from node 18 on.
const UNCOMPILED_INFERRED: u32 = 8;
const UNCOMPILED_START: u32 = 0x10;

/// `InterpreterData` has its bytecode first.
const INTERPRETER_BYTECODE: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// By name, or by what V8 infers; empty for none.
    pub(super) name: String,
    pub(super) script: Option<Tagged>,
    /// Position in its script.
    pub(super) start: Option<u32>,
    pub(super) bytecode: Option<Tagged>,
}

/// The key of a function by its `SharedFunctionInfo`; script 0 where it has none. None if that is not one (any more).
pub(super) fn key<M: ReadUser>(heap: Heap<'_, M>, shared: Tagged) -> Option<FunctionKey> {
    if !heap.is_a(shared, heap.layout.types.shared) {
        return None;
    }
    let literal = heap.u32(shared.field(heap.layout.shared.literal))?;
    let script = match script::of(heap, shared) {
        Some(script) => script::id(heap, script)?,
        None => 0,
    };
    let key = FunctionKey::new(script, literal);
    Some(if script == 0 { key } else { key.in_isolate(heap.isolate) })
}

pub(super) fn read<M: ReadUser>(heap: Heap<'_, M>, shared: Tagged) -> Result<Shared, NotRead> {
    let layout = heap.layout;
    let mut found =
        Shared { name: String::new(), script: script::of(heap, shared), start: None, bytecode: None };
    let mut inferred = String::new();
    let name_or_scope = heap.word(shared.field(layout.shared.name_or_scope)).ok_or(NotRead::Unreadable)?;
    // A small integer stands for no name.
    if let Some(object) = Tagged::of(name_or_scope) {
        if heap.is_a(object, layout.types.scope) {
            let scope = scope::read(heap, object)?;
            (found.name, inferred, found.start) = (scope.name, scope.inferred, scope.start);
        } else if heap.is_string(object) {
            found.name = string::text(heap, object, MAX_NAME)?;
        }
    }
    if let Some(data) = heap.pointer(shared, layout.shared.data) {
        let kind = heap.type_name(data).unwrap_or_default();
        if kind.starts_with("WasmExportedFunctionData") {
            // What it calls has a frame of its own; this is what passes the call on, by V8's name for that code.
            "js-to-wasm".clone_into(&mut found.name);
        } else if kind.starts_with("Uncompiled") {
            if let Some(name) = heap.pointer(data, UNCOMPILED_INFERRED).filter(|name| heap.is_string(*name)) {
                inferred = string::text(heap, name, MAX_NAME)?;
            }
            found.start = heap.u32(data.field(UNCOMPILED_START));
        }
        found.bytecode = bytecode(heap, data);
    }
    if found.name.is_empty() {
        found.name = inferred;
    }
    Ok(found)
}

/// The bytecode behind what stands for it: in a `SharedFunctionInfo`, or in baseline code.
pub(super) fn bytecode<M: ReadUser>(heap: Heap<'_, M>, mut data: Tagged) -> Option<Tagged> {
    // Baseline code leads to interpreter data, and that to bytecode.
    for _ in 0..3 {
        let kind = heap.instance_type(data)?;
        if kind == heap.layout.types.bytecode_array {
            return Some(data);
        }
        let next = if kind == heap.layout.types.code {
            heap.layout.code.deopt
        } else if heap.type_name(data) == Some("InterpreterData") {
            INTERPRETER_BYTECODE
        } else {
            return None;
        };
        data = heap.pointer(data, next)?;
    }
    None
}

/// A closure's `SharedFunctionInfo`; none if that is no closure (any more).
pub(super) fn shared_of<M: ReadUser>(heap: Heap<'_, M>, closure: Tagged) -> Option<Tagged> {
    let types = &heap.layout.types;
    let kind = heap.instance_type(closure)?;
    if !(types.first_function..=types.last_function).contains(&kind) {
        return None;
    }
    heap.pointer(closure, heap.layout.function.shared)
}
