//! What is remembered of functions and scripts.

use leaktrace_common::v8::FunctionKey;

use super::{
    decoder::Decoder,
    frame::Tier,
    function::Shared,
    object::{Heap, Tagged},
    reason::NotRead,
    script::{EvalPlace, Script},
};
use crate::process::ReadUser;

/// Evals within evals that are told in a file's name.
pub(super) const MAX_EVAL_DEPTH: u32 = 4;

/// V8 makes bytecode of functions of some MiB at most; tables are shorter.
const MAX_TABLE: usize = 8 << 20;

#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// In its script.
    pub(super) start: Option<u32>,
    /// Source position table of its bytecode.
    pub(super) positions: Result<Box<[u8]>, NotRead>,
    /// Where a closure of it was last seen.
    pub(super) closure: Option<Tagged>,
}

impl Function {
    pub(super) fn new<M: ReadUser>(
        heap: Heap<'_, M>,
        read: &Shared,
        bytecode: Option<Tagged>,
        source: Option<&Source>,
    ) -> Self {
        let positions = bytecode
            .filter(|bytecode| heap.is_a(*bytecode, heap.layout.types.bytecode_array))
            .and_then(|bytecode| heap.pointer(bytecode, heap.layout.bytecode.source_positions))
            .and_then(|table| heap.array_bytes(table, MAX_TABLE))
            .map(Into::into)
            .ok_or(NotRead::NoPosition);
        Self { name: name(read, source), start: read.start, positions, closure: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.positions.as_ref().map_or(0, |table| table.len())
    }
}

/// What V8 calls it; else its place. A script's own code begins where the script does.
fn name(read: &Shared, source: Option<&Source>) -> String {
    const NONE: &str = "(anonymous)";
    if !read.name.is_empty() {
        return read.name.clone();
    }
    let Some(source) = source else { return NONE.to_owned() };
    match read.start {
        // As V8 calls all that has no name there.
        _ if source.script.eval.is_some() => return "eval".to_owned(),
        Some(0) => return "(top level)".to_owned(),
        _ => {}
    }
    // The last part is enough beside the frame's own file.
    let file = source.file.rsplit_once('/').map_or(&*source.file, |(_, last)| last);
    match read.start.and_then(|start| source.script.locate(start).ok()) {
        Some((line, column)) => format!("{NONE} {file}:{line}:{column}"),
        None => format!("{NONE} {file}"),
    }
}

/// A script.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) script: Script,
    /// As it is shown.
    pub(super) file: String,
}

impl Source {
    pub(super) fn new(script: Script, eval_origin: Option<String>) -> Self {
        // As V8 shows scripts without a name.
        let file = script.file.clone().or(eval_origin).unwrap_or_else(|| "<anonymous>".to_owned());
        Self { script, file }
    }

    /// Whether reading it again would bring nothing new.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.script.lines, Err(NotRead::Unreadable | NotRead::Malformed))
    }
}

impl Decoder {
    /// `eval at f (file:line)`
    pub(super) fn eval_origin(&self, key: FunctionKey, place: EvalPlace) -> String {
        let position = match place {
            EvalPlace::Position(position) => Ok(position),
            EvalPlace::Bytecode(offset) => self.bytecode_position(key, offset),
        };
        let caller = self.describe(key, position, Tier::Unknown);
        let line = caller.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("eval at {} ({}{line})", caller.function, caller.file)
    }
}
