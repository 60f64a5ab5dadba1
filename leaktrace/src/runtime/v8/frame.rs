//! Frames of JavaScript as they are printed, and what of them the kernel side saw.

use std::ops::Range;

use leaktrace_common::v8::FunctionKey;

use super::reason::NotRead;

/// A function, when it is first seen in a stack. The words are addresses that the next collection may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSeen {
    pub key: FunctionKey,
    /// Tagged `JSFunction`.
    pub function: u64,
    /// Tagged `SharedFunctionInfo`.
    pub shared: u64,
    /// Tagged `BytecodeArray` if it runs interpreted, else 0.
    pub bytecode: u64,
}

/// Where in a function a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// The frame's word for the bytecode offset, as a number: it counts from the tagged `BytecodeArray`.
    Bytecode(u32),
    /// A return address, into what V8 compiled or into builtins.
    Code(u64),
    Builtin,
}

/// Where V8's builtins are: in the binary's text, and the copy beside compiled code; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Builtins {
    pub text: Range<u64>,
    pub copy: Range<u64>,
}

impl Builtins {
    pub(super) fn contain(&self, pc: u64) -> bool {
        self.text.contains(&pc) || self.copy.contains(&pc)
    }
}

/// Which of V8's ways to run a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Interpreted,
    /// Sparkplug.
    Baseline,
    Maglev,
    Turbofan,
    /// A builtin, or a function that a builtin is about to run.
    Builtin,
    /// Compiled code that was not found.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsFrame {
    /// Never empty: `(anonymous) file:line:col` for a function without a name, `(top level)` for a script's own code.
    pub function: String,
    /// A path, `node:...`, `eval at f (file:line)`, `<anonymous>` for a script without a name; `native` for none.
    pub file: String,
    /// From 1; where the place within the function is not known, where the function begins.
    pub line: Option<u32>,
    /// From 1.
    pub column: Option<u32>,
    /// Line and column where the function begins, as V8 counts it: mostly the bracket of its parameters.
    pub start: Option<(u32, u32)>,
    pub tier: Tier,
    /// Its code stands inside the function after it.
    pub inlined: bool,
    /// Why the place, or more, is not known.
    pub missing: Option<NotRead>,
}
