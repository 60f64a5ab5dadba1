//! Names from ELF files and DWARF, by blazesym.
//!
//! Every file is an open descriptor that blazesym is given as `/proc/self/fd/N`, so names outlive the file and the
//! process. Before one is closed that was read, all that blazesym keeps is given up: N, the key of its cache, may mean
//! another file then. Separate debug files come with the file, as they are to be found below the root of its process.
//! blazesym looks for them too, but below its own root, and by build id only where there is a debug link.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::AsRawFd,
};

use blazesym::symbolize::{
    CodeInfo, Input, Reason, Sym, Symbolized,
    source::{Elf, Process, Source},
};

use object::ReadCache;

use super::{Name, Named, NoName, perf_map::PerfMap};
use crate::{
    attribute::{BinaryId, FileOffset, Place},
    unwind::segment::{self, Segment},
};

/// Files of which blazesym keeps what it read. It forgets none by itself, and of a large program that is some ten megabytes; but
/// names that were found stay with who asked, so that a file is seldom asked again.
const MOST_FILES: usize = 32;
/// The same by their size. What it keeps is more: 11 MB of libc and its debug information, which are 6.
const MOST_BYTES: u64 = 64 << 20;

/// Everything that the thread holds.
pub(super) struct Blaze {
    symbolizer: blazesym::symbolize::Symbolizer,
    /// Those that it has read, with their sizes.
    read: HashMap<BinaryId, u64>,
    binaries: HashMap<BinaryId, Files>,
    perf_maps: HashMap<leaktrace_common::process::ProcessId, PerfMap<File>>,
    vdso: Option<u64>,
}

/// What holds a binary's code and its names.
struct Files {
    code: File,
    debug: Option<File>,
    segments: Vec<Segment>,
}

/// Bytes of a binary's file, and of the one that has its debug information.
pub(super) fn size(code: &File, debug: Option<&File>) -> u64 {
    [Some(code), debug]
        .into_iter()
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|found| found.len())
        .sum()
}

impl Blaze {
    pub(super) fn new() -> Self {
        Self {
            symbolizer: symbolizer(),
            read: HashMap::new(),
            binaries: HashMap::new(),
            perf_maps: HashMap::new(),
            vdso: own_vdso(),
        }
    }

    pub(super) fn add_binary(&mut self, id: BinaryId, code: File, debug: Option<File>) {
        // A debug file knows addresses only: its own offsets are not those of the code.
        let segments = object::File::parse(&ReadCache::new(&code))
            .map_or_else(|_| Vec::new(), |file| segment::executable(&file));
        self.binaries.entry(id).or_insert(Files { code, debug, segments });
    }

    pub(super) fn add_perf_map(&mut self, process: leaktrace_common::process::ProcessId, file: File) {
        self.perf_maps.insert(process, PerfMap::new(file));
    }

    pub(super) fn forget(&mut self, gone: &HashSet<leaktrace_common::process::ProcessId>) {
        self.perf_maps.retain(|process, _| !gone.contains(process));
    }

    pub(super) fn forget_binaries(&mut self, gone: &HashSet<BinaryId>) {
        self.binaries.retain(|id, _| !gone.contains(id));
        // What was read goes by the number of its descriptor, which the next file may have.
        if gone.iter().any(|id| self.read.contains_key(id)) {
            self.forget_read();
        }
    }

    /// Before another file is read.
    fn make_room(&mut self, next: BinaryId) {
        if self.read.contains_key(&next) {
            return;
        }
        let files = self.binaries.get(&next);
        let size = files.map_or(0, |Files { code, debug, .. }| size(code, debug.as_ref()));
        let is_full = self.read.len() >= MOST_FILES || size + self.read.values().sum::<u64>() > MOST_BYTES;
        if is_full && !self.read.is_empty() {
            self.forget_read();
        }
        self.read.insert(next, size);
    }

    fn forget_read(&mut self) {
        self.symbolizer = symbolizer();
        self.read.clear();
    }

    /// An answer for each of `places`.
    pub(super) fn name(&mut self, places: &[Place]) -> Vec<(Place, Named)> {
        if places.iter().any(|place| matches!(place, Place::Jit { .. })) {
            for map in self.perf_maps.values_mut() {
                // What was read before stays of use; the rest has no name.
                let _ = map.refresh();
            }
        }
        let mut by_binary: HashMap<BinaryId, Vec<u64>> = HashMap::new();
        let mut answers = Vec::with_capacity(places.len());
        for place in places {
            match *place {
                Place::Binary { binary, offset } => by_binary.entry(binary).or_default().push(offset.0),
                Place::Vdso { offset } => answers.push((*place, self.name_vdso(offset))),
                Place::Jit { process, address } => {
                    let name = self.perf_maps.get(&process).and_then(|map| map.name(address));
                    answers.push((*place, name.map_or(Named::Unknown(NoName::NoPerfMap), generated)));
                }
                Place::JavaScript { .. } => answers.push((*place, Named::Unknown(NoName::NotRead))),
                Place::Unknown(_) => answers.push((*place, Named::Unknown(NoName::NoFile))),
            }
        }
        for (binary, offsets) in by_binary {
            self.make_room(binary);
            let named = self.name_binary(binary, &offsets);
            answers.extend(
                offsets
                    .into_iter()
                    .zip(named)
                    .map(|(offset, named)| (Place::Binary { binary, offset: FileOffset(offset) }, named)),
            );
        }
        answers
    }

    fn name_binary(&self, binary: BinaryId, offsets: &[u64]) -> Vec<Named> {
        let Some(Files { code, debug, segments }) = self.binaries.get(&binary) else {
            return vec![Named::Unknown(NoName::NoFile); offsets.len()];
        };
        let mut named = vec![Named::Unknown(NoName::Broken); offsets.len()];
        if let Some(debug) = debug {
            let code = |(at, offset): (usize, &u64)| Some((at, segment::address(segments, *offset)?));
            let (places, addresses): (Vec<usize>, Vec<u64>) =
                offsets.iter().enumerate().filter_map(code).unzip();
            let found = self.look_up(debug, true, Input::VirtOffset(&addresses)).unwrap_or_default();
            places.into_iter().zip(found).for_each(|(at, found)| named[at] = found);
        }
        // What is not known by now the code's own file may know; its reason is the better one, too.
        let is_missing = |at: &usize| matches!(named[*at], Named::Unknown(_));
        let missing: Vec<usize> = (0..offsets.len()).filter(is_missing).collect();
        let left: Vec<u64> = missing.iter().map(|at| offsets[*at]).collect();
        let own = self.look_up(code, debug.is_none(), Input::FileOffset(&left)).unwrap_or_default();
        missing.into_iter().zip(own).for_each(|(at, own)| named[at] = own);
        named
    }

    /// None where the file is broken.
    fn look_up(&self, file: &File, debug_syms: bool, places: Input<&[u64]>) -> Option<Vec<Named>> {
        let symbols_alone =
            Elf { debug_syms: false, ..Elf::new(format!("/proc/self/fd/{}", file.as_raw_fd())) };
        let with_debug = Elf { debug_syms, ..symbols_alone.clone() };
        // Debug information that is broken must not take the symbols away.
        let found = [with_debug, symbols_alone]
            .into_iter()
            .find_map(|elf| self.symbolizer.symbolize(&Source::Elf(elf), places).ok())?;
        Some(found.iter().map(named).collect())
    }

    fn name_vdso(&self, offset: FileOffset) -> Named {
        let Some(start) = self.vdso else { return Named::Unknown(NoName::NoFile) };
        let source = Source::Process(Process::new(blazesym::Pid::Slf));
        let found = self.symbolizer.symbolize_single(&source, Input::AbsAddr(start + offset.0));
        found.map_or(Named::Unknown(NoName::Broken), |found| named(&found))
    }
}

fn symbolizer() -> blazesym::symbolize::Symbolizer {
    blazesym::symbolize::Symbolizer::builder()
        // A descriptor's file is what it was; asking for its state on every look-up tells nothing new.
        .enable_auto_reload(false)
        .build()
}

fn named(found: &Symbolized<'_>) -> Named {
    match found {
        Symbolized::Sym(symbol) => Named::Known(names(symbol)),
        Symbolized::Unknown(reason) => Named::Unknown(match reason {
            Reason::MissingSyms | Reason::MissingComponent => NoName::NoSymbols,
            Reason::InvalidFileOffset | Reason::Unmapped => NoName::NotInFile,
            Reason::UnknownAddr => NoName::NotCovered,
            _ => NoName::Broken,
        }),
    }
}

/// blazesym has the function first and then the inlined calls inwards; each with the line that control is at in it.
fn names(symbol: &Sym<'_>) -> Vec<Name> {
    let inlined = symbol.inlined.iter().rev();
    let inlined = inlined.map(|call| name(&call.name, call.code_info.as_ref(), true));
    inlined.chain([name(&symbol.name, symbol.code_info.as_deref(), false)]).collect()
}

fn name(function: &str, code: Option<&CodeInfo<'_>>, inlined: bool) -> Name {
    Name {
        function: function.to_owned(),
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line),
        column: code.and_then(|code| code.column).map(u32::from),
        inlined,
        line_of_function: false,
    }
}

fn generated(function: &str) -> Named {
    Named::Known(vec![name(function, None, false)])
}

fn own_vdso() -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

#[cfg(test)]
mod tests;
