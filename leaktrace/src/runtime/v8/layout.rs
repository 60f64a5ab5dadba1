//! Where things lie in the objects of one version of V8, and the numbers of its types.
//!
//! Offsets in bytes from an object's start, which is its tagged pointer less 1. Most come from the `v8dbg_` constants
//! that V8 puts into the binary for debuggers
//! (<https://github.com/nodejs/node/blob/v22.0.0/deps/v8/tools/gen-postmortem-metadata.py>); what they leave out is known
//! by version or read from the binary's code, and checked on the live process before it is trusted.

use std::fmt;

/// V8's own version, as in its `Version` class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub build: u32,
    pub patch: u32,
}

impl Version {
    /// The first of a build, whatever its patches: what layouts are told apart by.
    #[must_use]
    pub const fn new(major: u32, minor: u32, build: u32) -> Self {
        Self { major, minor, build, patch: 0 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.build, self.patch)
    }
}

/// Everything that is read from a process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub version: Version,
    pub function: Function,
    pub shared: Shared,
    pub script: Script,
    pub scope: Scope,
    pub bytecode: Bytecode,
    pub code: Code,
    pub deopt: Deopt,
    pub map: Map,
    pub types: Types,
}

/// `JSFunction`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    pub shared: u32,
    /// To its `Code`; none where a table is between (V8 13 and later).
    pub code: Option<u32>,
}

/// `SharedFunctionInfo`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Its bytecode or what stands for it (`function_data`, `trusted_function_data`).
    pub data: u32,
    /// A string or a `ScopeInfo`.
    pub name_or_scope: u32,
    pub script: u32,
    /// Number of the function's literal within its script, 4 bytes.
    pub literal: u32,
}

/// `Script`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub source: u32,
    pub name: u32,
    /// Positions where lines end, once V8 has made them.
    pub line_ends: u32,
    pub id: u32,
}

/// `ScopeInfo`, as indices of words after its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub local_count: u32,
    pub first_local: u32,
    /// Whether the function's start and end positions have a fixed place (V8 12.8 and later).
    pub fixed_positions: bool,
}

/// `BytecodeArray`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytecode {
    pub length: u32,
    pub data: u32,
    pub source_positions: u32,
    /// `Bytecodes::kBytecodeSizes`: lengths in bytes of every bytecode, for operands of 1, 2 and 4 bytes in turn.
    pub sizes: Vec<u8>,
    /// Whether source position tables have the newer encoding (V8 14 and later).
    pub new_positions: bool,
}

/// `Code`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Deoptimization data, or for baseline code the bytecode.
    pub deopt: u32,
    pub source_positions: u32,
    /// Its first instruction; a pointer to it if `is_split`.
    pub start: u32,
    /// Whether instructions lie apart from the `Code` (V8 11.1 and later).
    pub is_split: bool,
    /// Bytes of instructions, 4 bytes.
    pub size: u32,
    /// 4 bytes; the lowest 4 bits are the kind.
    pub flags: u32,
    /// The kind of baseline code; what is above is optimized.
    pub baseline: u32,
}

/// `DeoptimizationData`, as indices of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deopt {
    pub inlined_count: u32,
    pub literals: u32,
    pub inlining_positions: u32,
}

/// `Map`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// 2 bytes.
    pub instance_type: u32,
    /// Size of an instance in words, 1 byte; 0 where it varies.
    pub instance_size: u32,
    /// Constructor function, or the map that this one was made from.
    pub constructor: u32,
}

/// Instance types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    pub map: u16,
    pub shared: u16,
    pub script: u16,
    pub scope: u16,
    pub code: u16,
    pub bytecode_array: u16,
    /// Stands between a function and its script while a debugger looks at it.
    pub debug_info: Option<u16>,
    pub first_function: u16,
    pub last_function: u16,
    /// The first one of objects that JavaScript can make.
    pub first_object: u16,
    /// Every instance type that the binary names, sorted: (12, "JSObject") from `v8dbg_type_JSObject__JS_OBJECT_TYPE`.
    pub names: Vec<(u16, String)>,
}
