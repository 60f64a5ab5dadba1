//! `Script`: a file or what else was compiled as a whole.
//!
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/script.tq>

use super::{
    NotRead,
    lines::Lines,
    object::{FIRST_NOT_STRING, Heap, Tagged},
    string,
};
use crate::process::ReadUser;

/// Characters of a script's name; paths have at most 4096 bytes (`PATH_MAX`).
const MAX_FILE: u32 = 4096;

/// After the name: what is added to lines and columns, for sources that stand within a larger text (`vm.Script`).
const LINE_OFFSET_BEHIND_NAME: u32 = 8;
const COLUMN_OFFSET_BEHIND_NAME: u32 = 16;

/// After the id: the function that compiled it (`eval`, `new Function`), and where in that.
const EVAL_SHARED_BEHIND_ID: u32 = 8;
const EVAL_POSITION_BEHIND_ID: u32 = 16;

/// `DebugInfo` has five to eight words, its script among them.
const DEBUG_INFO_WORDS: u32 = 8;

#[derive(Clone, Debug)]
pub(super) struct Script {
    /// As V8 has it, without `file://`; none where it was compiled without a name.
    pub(super) file: Option<String>,
    pub(super) eval: Option<Eval>,
    pub(super) lines: Result<Lines, NotRead>,
    line_offset: u32,
    column_offset: u32,
}

/// What called `eval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Eval {
    pub(super) shared: Tagged,
    /// In its script.
    pub(super) place: EvalPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvalPlace {
    Position(u32),
    /// V8 turns it into a position when somebody asks.
    Bytecode(u32),
}

impl Script {
    /// Line and column, both from 1.
    pub(super) fn locate(&self, position: u32) -> Result<(u32, u32), NotRead> {
        let lines = self.lines.as_ref().map_err(|reason| *reason)?;
        let (line, column) = lines.locate(position).ok_or(NotRead::Malformed)?;
        let column_offset = if line == 1 { self.column_offset } else { 0 };
        Ok((line.saturating_add(self.line_offset), column.saturating_add(column_offset)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.file.as_ref().map_or(0, String::len) + self.lines.as_ref().map_or(0, Lines::bytes)
    }
}

/// The script of a function; none for those made by C++.
pub(super) fn of<M: ReadUser>(heap: Heap<'_, M>, shared: Tagged) -> Option<Tagged> {
    let types = &heap.layout.types;
    let object = heap.pointer(shared, heap.layout.shared.script)?;
    let kind = heap.instance_type(object)?;
    if kind == types.script {
        return Some(object);
    }
    // Before V8 12 a debugger puts its own object between.
    if types.debug_info != Some(kind) {
        return None;
    }
    (1..DEBUG_INFO_WORDS)
        .filter_map(|index| heap.pointer(object, index * 8))
        .find(|object| heap.is_a(*object, types.script))
}

pub(super) fn id<M: ReadUser>(heap: Heap<'_, M>, script: Tagged) -> Option<u32> {
    heap.integer(script, heap.layout.script.id).and_then(|id| u32::try_from(id).ok())
}

pub(super) fn read<M: ReadUser>(heap: Heap<'_, M>, script: Tagged) -> Result<Script, NotRead> {
    let layout = heap.layout.script;
    let file =
        string_at(heap, script, layout.name)?.map(|name| string::text(heap, name, MAX_FILE)).transpose()?;
    let offset = |behind| {
        let value = heap.integer(script, layout.name + behind).unwrap_or(0);
        u32::try_from(value).unwrap_or(0)
    };
    Ok(Script {
        file: file.filter(|file| !file.is_empty()).map(without_scheme),
        eval: eval(heap, script),
        lines: lines(heap, script)?,
        line_offset: offset(LINE_OFFSET_BEHIND_NAME),
        column_offset: offset(COLUMN_OFFSET_BEHIND_NAME),
    })
}

/// The string in a field; none if it holds something else. While a collection has moved the string and not yet updated the
/// field, there is a new address where the string's map was, and nothing says that it was one.
fn string_at<M: ReadUser>(heap: Heap<'_, M>, script: Tagged, offset: u32) -> Result<Option<Tagged>, NotRead> {
    let Some(object) = heap.pointer(script, offset) else { return Ok(None) };
    let kind = heap.instance_type(object).ok_or(NotRead::Moved)?;
    Ok((kind < FIRST_NOT_STRING).then_some(object))
}

/// The outer error is for a script that has to be read again.
fn lines<M: ReadUser>(heap: Heap<'_, M>, script: Tagged) -> Result<Result<Lines, NotRead>, NotRead> {
    let layout = heap.layout.script;
    let made = heap
        .pointer(script, layout.line_ends)
        .filter(|ends| heap.type_name(*ends) == Some("FixedArray"))
        .and_then(|ends| Lines::of_array(heap, ends));
    if let Some(lines) = made {
        return Ok(Ok(lines));
    }
    let source = string_at(heap, script, layout.source)?;
    Ok(source.ok_or(NotRead::NoSource).and_then(|source| Lines::of_source(heap, source)))
}

fn eval<M: ReadUser>(heap: Heap<'_, M>, script: Tagged) -> Option<Eval> {
    let id = heap.layout.script.id;
    let shared = heap.pointer(script, id + EVAL_SHARED_BEHIND_ID)?;
    if !heap.is_a(shared, heap.layout.types.shared) {
        return None;
    }
    let position = heap.integer(script, id + EVAL_POSITION_BEHIND_ID)?;
    let place = match u32::try_from(position) {
        Ok(position) => EvalPlace::Position(position),
        Err(_) => EvalPlace::Bytecode(position.unsigned_abs()),
    };
    Some(Eval { shared, place })
}

/// Modules are named by URL.
fn without_scheme(file: String) -> String {
    file.strip_prefix("file://").map(str::to_owned).unwrap_or(file)
}
