//! Names of places: function, file and line, with the calls that were inlined there.
//!
//! Each distinct [`Place`] is asked once and its answer kept. A name that is not known is a value with a
//! reason, so that reports can say why.
//!
//! Limits: the vDSO is named from the agent's own, which differs for a 32-bit process; files are not
//! fetched from a debuginfod server.

mod blaze;
mod perf_map;
mod thread;

use std::collections::{BTreeMap, HashMap, HashSet};

use leaktrace_common::{
    process::ProcessId,
    v8::{FunctionKey, Sample},
};
use thiserror::Error;

use crate::attribute::{BinaryId, Place};
pub use thread::SymbolThread;

/// Causes of [`Names::unread`] that are about source maps begin so, and count files.
pub const OF_SOURCE_MAPS: &str = "source maps: ";

/// A function at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Demangled.
    pub function: String,
    /// As the compiler wrote it down; absolute where it did.
    pub file: Option<String>,
    pub line: Option<u32>,
    pub column: Option<u32>,
    /// Its code stands inside the function after it.
    pub inlined: bool,
    /// `line` and `column` are where the function begins: the place within it is not known.
    pub line_of_function: bool,
}

/// What is known of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Innermost first: inlined calls, then the function that holds them. Never empty.
    Known(Vec<Name>),
    Unknown(NoName),
}

/// Why a place has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoName {
    /// The file has no symbols, and no separate debug file was found.
    NoSymbols,
    /// The file has symbols and none covers the place.
    NotCovered,
    /// The place is in no segment of the file: it is not the file that was mapped.
    NotInFile,
    /// The agent could not open the file, or has not said which it is.
    NoFile,
    /// The file's symbols or debug information are broken.
    Broken,
    /// Code made at run time, and its process writes no perf map.
    NoPerfMap,
    /// A JavaScript function that could not be read before it moved or went.
    NotRead,
    /// Nobody asked.
    NotAsked,
}

impl NoName {
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoSymbols => "file without symbols",
            Self::NotCovered => "no symbol covers it",
            Self::NotInFile => "outside the file's code",
            Self::NoFile => "file not readable",
            Self::Broken => "broken debug information",
            Self::NoPerfMap => "generated code, no perf map",
            Self::NotRead => "JavaScript function not read in time",
            Self::NotAsked => "not looked up",
        }
    }
}

/// What tells a sampled object's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeOf {
    /// 0: no collection has looked at the object.
    pub instance_type: u16,
    /// 0: it was not made by a constructor.
    pub constructor: FunctionKey,
}

impl TypeOf {
    #[must_use]
    pub const fn of(sample: &Sample) -> Self {
        Self { instance_type: sample.instance_type, constructor: sample.constructor }
    }
}

/// The last part of a path, by which a person knows a file.
#[must_use]
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a function is of Rust's or C++'s standard library: it allocates for whoever called it.
#[must_use]
pub fn is_of_library(function: &str) -> bool {
    const OWN: [&str; 6] = ["alloc::", "core::", "std::", "hashbrown::", "__gnu_cxx::", "operator new"];
    let name = function.trim_start_matches(['<', '&']);
    // What implements a library's trait is its type's own: `<Session as core::clone::Clone>::clone`.
    let is_own = |name: &str| OWN.iter().any(|own| name.starts_with(own));
    is_own(name) || name.strip_prefix("void ").is_some_and(is_own)
}

/// Whether a file is of one of these libraries: a function that was inlined goes by its own name alone.
#[must_use]
pub fn is_file_of_library(path: &str) -> bool {
    let is_of_rust = path.contains("/rustc/") || path.contains("/rustlib/src/rust/");
    is_of_rust && path.contains("/library/") || path.contains("/include/c++/")
}

/// Answers so far.
#[derive(Clone, Debug, Default)]
pub struct Names {
    named: HashMap<Place, Named>,
    types: HashMap<(ProcessId, TypeOf), String>,
    unread: BTreeMap<String, u64>,
}

impl Names {
    #[must_use]
    pub fn get(&self, place: Place) -> &Named {
        self.named.get(&place).unwrap_or(&Named::Unknown(NoName::NotAsked))
    }

    pub fn insert(&mut self, place: Place, named: Named) {
        self.named.insert(place, named);
    }

    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        self.named.contains_key(&place)
    }

    /// What a sampled object is called in reports.
    #[must_use]
    pub fn type_of(&self, process: ProcessId, sample: &Sample) -> &str {
        let of = TypeOf::of(sample);
        match self.types.get(&(process, of)) {
            Some(name) => name,
            None if of.instance_type == 0 => "not seen by a collection yet",
            None => "unknown type",
        }
    }

    pub fn insert_type(&mut self, process: ProcessId, of: TypeOf, name: String) {
        self.types.insert((process, of), name);
    }

    /// Forgets what is of processes that nobody asks about any more.
    pub fn forget(&mut self, of: impl Fn(ProcessId) -> bool) {
        self.named.retain(|place, _| !place.process().is_some_and(&of));
        self.types.retain(|(process, _), _| !of(*process));
    }

    /// Forgets what is of files that nobody maps any more.
    pub fn forget_binaries(&mut self, gone: &HashSet<BinaryId>) {
        self.named.retain(|place, _| place.binary().is_none_or(|id| !gone.contains(&id)));
    }

    /// JavaScript functions, scripts and places that could not be read, by cause.
    #[must_use]
    pub const fn unread(&self) -> &BTreeMap<String, u64> {
        &self.unread
    }

    pub fn set_unread(&mut self, unread: BTreeMap<String, u64>) {
        self.unread = unread;
    }

    /// Places asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.named.len()
    }

    /// Those of them without a name.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.named.values().filter(|named| matches!(named, Named::Unknown(_))).count()
    }
}

/// Symbolization is lost, tracing is not: a report is printed without names.
#[derive(Debug, Error)]
pub enum SymbolizeError {
    #[error("cannot start the thread that looks up symbols")]
    Start(#[source] std::io::Error),
    #[error("the thread that looks up symbols ended")]
    Gone,
}

/// Contract: after `resolve` every place of `places` is in `names`, with a name or a reason. A place that
/// is there already is not looked up again, but for code made at run time that had no name: its process may
/// have written one since.
pub trait Symbolizer {
    fn resolve(&mut self, places: &[Place], names: &mut Names) -> Result<(), SymbolizeError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_told_by_its_files_where_a_function_was_inlined() {
        let of_library = [
            "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/alloc/src/raw_vec/mod.rs",
            "/rustc/59807616e1fa/library/std/src/rt.rs",
            "/usr/include/c++/12/bits/stl_vector.h",
        ];
        assert!(of_library.into_iter().all(is_file_of_library));
        assert!(!is_file_of_library("/home/me/library/src/core.rs"));
        assert!(is_of_library("<alloc::raw_vec::RawVec<u8>>::grow") && !is_of_library("serve"));
    }
}
