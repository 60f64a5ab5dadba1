//! Whether a file has V8 in it, and what can be told of that V8.
//!
//! Found by symbols, never by the file's name: node's own builds have V8 in the program, distributions in
//! `libnode.so`, and programs are renamed. V8 whose symbols were all removed (deno, Chrome) is not seen.

use std::{fmt, ops::Range};

use leaktrace_common::v8::{self, Point, can};

use super::{
    capability::{Capability, Lack},
    constants::{self, Constants},
    derive::{self, Marks, YoungPages},
    layout::{Layout, Version},
    objects::{self, Missing},
    probes::{self, Plan, ProbePoint},
};
use crate::binary::{Architecture, Binary, LinkAddress, variables::Variables};

/// Every V8 has it, exported. Unlike much of `v8::`, it is not inline, so that modules written against V8 have it not.
const GET_VERSION: &str = "_ZN2v82V810GetVersionEv";
const VERSION: [&str; 4] = [
    "_ZN2v88internal7Version6major_E",
    "_ZN2v88internal7Version6minor_E",
    "_ZN2v88internal7Version6build_E",
    "_ZN2v88internal7Version6patch_E",
];
const BYTECODE_SIZES: &str = "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE";
/// The builtins' code; in V8 10 `code_` is a pointer to it.
const BUILTINS: [&str; 2] = ["v8_Default_embedded_blob_code_data_", "v8_Default_embedded_blob_code_"];
const BUILTINS_SIZE: &str = "v8_Default_embedded_blob_code_size_";
/// Give the base that compressed pointers are relative to; only builds that compress them have it, in `ptr-compr.cc`
/// (the second in V8 11; the variable itself can be thread-local).
const CAGE_BASE: [&str; 2] = [
    "_ZN2v88internal8MainCage16base_non_inlinedEv",
    "_ZN2v88internal23V8HeapCompressionScheme16base_non_inlinedEv",
];

/// What a file is to this runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    NotV8,
    Usable(Box<V8>),
    Unusable(Unusable),
}

/// V8 of which nothing can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    pub version: Option<Version>,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Pointers in its heap are 4 bytes.
    PointerCompression,
    /// No version, or neither functions nor constants.
    Stripped,
    /// Of processors other than these V8's frames and registers are not known here.
    Architecture,
}

/// What one file says of its V8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V8 {
    pub version: Version,
    /// For reading names and lines from the process's memory; none without [`Capability::Names`].
    pub layout: Option<Layout>,
    /// Without [`Capability::Frames`] none.
    pub builtins: Option<Range<LinkAddress>>,
    /// Where an allocator has the pointer to its area. The kernel side checks it on the live process, as it does the places
    /// of marks, of flags and of maps (`leaktrace_common::v8::Check`).
    pub allocator_area: Option<u32>,
    /// Where V8 has the pointer to what knows code made from WebAssembly; none without [`Capability::WebAssembly`].
    pub code_manager: Option<LinkAddress>,
    pub points: Vec<ProbePoint>,
    /// Sorted by capability, one reason each.
    pub lacks: Vec<Lack>,
    /// Functions that may be called instead of a probed one, and are not probed since their arguments may differ.
    pub left_out: Vec<String>,
    kernel: v8::Layout,
}

impl V8 {
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        !self.lacks.iter().any(|lack| lack.capability == capability)
    }

    /// For the kernel side, of a process that has the file loaded `bias` bytes above where it was linked.
    /// `interval`, `builtins_copy` and `allocator_area` are left 0: only the process tells them.
    #[must_use]
    pub fn kernel_layout(&self, bias: u64) -> v8::Layout {
        let builtins = self
            .builtins
            .as_ref()
            .map_or([0, 0], |range| [range.start, range.end].map(|address| address.0.wrapping_add(bias)));
        v8::Layout { builtins, ..self.kernel }
    }
}

/// Whether a file may have V8 in it, by the names in its tables: cheap, as a program with V8 has a hundred thousand functions.
#[must_use]
pub fn may_have_v8(tables: &[u8]) -> bool {
    memchr::memmem::find(tables, GET_VERSION.as_bytes()).is_some()
}

/// Looks for V8 in a file: `binary` is what was parsed from `data`.
#[must_use]
pub fn detect(binary: &Binary<'_>, data: &[u8]) -> Detected {
    if !binary.functions().iter().any(|function| function.name == GET_VERSION) {
        return Detected::NotV8;
    }
    let Ok(variables) = Variables::parse(data, is_of_v8) else { return Detected::NotV8 };
    let constants = Constants::read(&variables);
    let version = version(&variables);
    let unusable = |why| Detected::Unusable(Unusable { version, why });
    let tagged = constants.value("TaggedSize");
    let has_cage = binary.functions().iter().any(|function| CAGE_BASE.contains(&function.name));
    if has_cage || tagged.is_some_and(|size| size != 8) {
        return unusable(Why::PointerCompression);
    }
    if !matches!(binary.architecture, Architecture::X86_64 | Architecture::Aarch64) {
        return unusable(Why::Architecture);
    }
    let Some(version) = version else { return unusable(Why::Stripped) };
    let builtins = builtins(binary, &variables);
    let v8 = Evidence {
        version,
        plan: probes::plan(binary),
        interpreter: interpreter(binary, builtins.as_ref()),
        builtins,
        bytecode_sizes: bytecode_sizes(&variables),
        young: derive::young_pages(binary),
        marks: derive::marks(binary),
        allocator_area: derive::allocator_area(binary, version),
        code_manager: derive::code_manager(binary),
        constants,
    }
    .judge();
    if v8.points.is_empty() && !v8.can(Capability::Frames) {
        return Detected::Unusable(Unusable { version: Some(version), why: Why::Stripped });
    }
    Detected::Usable(Box::new(v8))
}

fn is_of_v8(name: &str) -> bool {
    name.starts_with(constants::PREFIX)
        || BUILTINS.contains(&name)
        || VERSION.contains(&name)
        || [BYTECODE_SIZES, BUILTINS_SIZE].contains(&name)
}

fn version(variables: &Variables<'_>) -> Option<Version> {
    let [major, minor, build, patch] = VERSION.map(|name| {
        let number = variables.number(variables.find(name)?.address)?;
        u32::try_from(number).ok()
    });
    Some(Version { major: major?, minor: minor?, build: build?, patch: patch? })
}

fn builtins(binary: &Binary<'_>, variables: &Variables<'_>) -> Option<Range<LinkAddress>> {
    let is_code = |address: &LinkAddress| binary.offset_of(*address).is_some();
    let start = BUILTINS.iter().find_map(|name| Some(variables.find(name)?.address).filter(is_code))?;
    let size = variables.number(variables.find(BUILTINS_SIZE)?.address)?;
    let size = u64::try_from(size).ok().filter(|size| *size > 0)?;
    Some(start..start.plus(size))
}

/// Interpreted functions run in this one builtin and what it calls.
const INTERPRETER: &str = "Builtins_InterpreterEntryTrampoline";

/// 0 and 0 where it has no symbol: what is interpreted is then not told apart, and its functions have no line.
fn interpreter(binary: &Binary<'_>, builtins: Option<&Range<LinkAddress>>) -> [u64; 2] {
    let function = binary.functions().iter().find(|function| function.name == INTERPRETER);
    let (Some(function), Some(builtins)) = (function, builtins) else { return [0, 0] };
    let start = function.address.0.wrapping_sub(builtins.start.0);
    [start, start + function.size]
}

fn bytecode_sizes<'data>(variables: &Variables<'data>) -> Option<&'data [u8]> {
    let sizes = variables.find(BYTECODE_SIZES)?;
    // Three of equal length, one for each size of operands.
    (sizes.size > 0 && sizes.size % 3 == 0).then(|| variables.bytes(sizes.address, sizes.size as usize))?
}

/// What was found, before it is said what that is enough for.
struct Evidence<'data> {
    version: Version,
    constants: Constants<'data>,
    plan: Plan,
    builtins: Option<Range<LinkAddress>>,
    /// Of the interpreter, from the start of the builtins.
    interpreter: [u64; 2],
    bytecode_sizes: Option<&'data [u8]>,
    young: Option<YoungPages>,
    marks: Option<Marks>,
    allocator_area: Option<u32>,
    code_manager: Option<LinkAddress>,
}

mod judge;

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "V8 {version} ")?,
            None => f.write_str("V8 ")?,
        }
        f.write_str(match self.why {
            Why::PointerCompression => {
                "compresses its pointers, as in Electron and Chrome, which leaktrace does not read; only native \
                 memory is traced"
            }
            Why::Stripped => {
                "has no symbols of its internal functions (stripped?); only native memory is traced: run a build with \
                 symbols, as nodejs.org's are"
            }
            Why::Architecture => {
                "is built for a processor on which leaktrace does not know it; only native memory is traced"
            }
        })
    }
}

#[cfg(test)]
mod tests;
