//! Names from ELF files and DWARF, by blazesym.
//!
//! Every file is an open descriptor that blazesym is given as `/proc/self/fd/N`, so names outlive the file and the
//! process. The descriptors are never closed, which keeps N, the key of blazesym's cache, from meaning
//! two files. Separate debug files are found by build id and debug link below `/usr/lib/debug`, and beside
//! the file itself, which blazesym finds by following the link.

use std::{collections::HashMap, fs::File, os::fd::AsRawFd};

use blazesym::symbolize::{
    CodeInfo, Input, Reason, Sym, Symbolized,
    source::{Elf, Process, Source},
};

use super::{Name, Named, NoName, perf_map::PerfMap};
use crate::attribute::{BinaryId, FileOffset, Place};

/// Everything that the thread holds.
pub(super) struct Blaze {
    symbolizer: blazesym::symbolize::Symbolizer,
    binaries: HashMap<BinaryId, File>,
    perf_maps: HashMap<leaktrace_common::process::ProcessId, PerfMap<File>>,
    vdso: Option<u64>,
}

impl Blaze {
    pub(super) fn new() -> Self {
        let symbolizer = blazesym::symbolize::Symbolizer::builder()
            // A descriptor's file is what it was; asking for its state on every look-up tells nothing new.
            .enable_auto_reload(false)
            .build();
        Self { symbolizer, binaries: HashMap::new(), perf_maps: HashMap::new(), vdso: own_vdso() }
    }

    pub(super) fn add_binary(&mut self, id: BinaryId, file: File) {
        self.binaries.entry(id).or_insert(file);
    }

    pub(super) fn add_perf_map(&mut self, process: leaktrace_common::process::ProcessId, file: File) {
        self.perf_maps.insert(process, PerfMap::new(file));
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
                Place::Unknown(_) => answers.push((*place, Named::Unknown(NoName::NoFile))),
            }
        }
        for (binary, offsets) in by_binary {
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
        let Some(file) = self.binaries.get(&binary) else {
            return vec![Named::Unknown(NoName::NoFile); offsets.len()];
        };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let with_debug = Elf::new(path);
        let symbols_alone = Elf { debug_syms: false, ..with_debug.clone() };
        // A debug file that is named and broken must not take the symbols away that the file has itself.
        let found = [with_debug, symbols_alone]
            .into_iter()
            .find_map(|elf| self.symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)).ok());
        found.map_or_else(
            || vec![Named::Unknown(NoName::Broken); offsets.len()],
            |found| found.iter().map(named).collect(),
        )
    }

    fn name_vdso(&self, offset: FileOffset) -> Named {
        let Some(start) = self.vdso else { return Named::Unknown(NoName::NoFile) };
        let source = Source::Process(Process::new(blazesym::Pid::Slf));
        let found = self.symbolizer.symbolize_single(&source, Input::AbsAddr(start + offset.0));
        found.map_or(Named::Unknown(NoName::Broken), |found| named(&found))
    }
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
        column: code.and_then(|code| code.column),
        inlined,
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
