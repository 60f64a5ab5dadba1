//! Addresses to places: which file, and where in it, a return address means.
//!
//! The agent gives the executable mappings of a process, at its start and again when a stack shows an address
//! that is not in them (a library was loaded, code was made). What an older list had and the newer one does not
//! overlap stays known: a stack may tell of a library that was unloaded since.
//! Limit: a library loaded exactly where another was, between two lists, is taken for the older one.

use std::collections::HashMap;

use leaktrace_common::{
    process::ProcessId,
    v8::{FunctionKey, Word},
};

use crate::event::lay_over;
pub use crate::event::{Backing, BinaryId, FileOffset, Mapping};

/// A frame of a stack. Every frame is a caller, so `address` is where the callee returns to, and `place` is
/// looked up one byte before: a call may be its function's last instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub address: u64,
    pub place: Place,
}

/// What can be named, once for all the frames that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Binary {
        binary: BinaryId,
        offset: FileOffset,
    },
    /// Offset into the vDSO's image, which is one for all processes of the machine's own word size.
    Vdso {
        offset: FileOffset,
    },
    /// A JavaScript function, and where in it.
    JavaScript {
        process: ProcessId,
        function: FunctionKey,
        at: At,
    },
    /// Code made at run time, which only its process can name.
    Jit {
        process: ProcessId,
        address: u64,
    },
    Unknown(NoPlace),
}

impl Place {
    /// Whether a name can be asked for.
    #[must_use]
    pub const fn can_be_named(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    #[must_use]
    pub const fn is_javascript(self) -> bool {
        matches!(self, Self::JavaScript { .. })
    }

    /// The file that it is in.
    #[must_use]
    pub const fn binary(self) -> Option<BinaryId> {
        if let Self::Binary { binary, .. } = self { Some(binary) } else { None }
    }

    /// The process that it is of, where it means nothing to another.
    #[must_use]
    pub const fn process(self) -> Option<ProcessId> {
        match self {
            Self::JavaScript { process, .. } | Self::Jit { process, .. } => Some(process),
            Self::Binary { .. } | Self::Vdso { .. } | Self::Unknown(_) => None,
        }
    }
}

/// Where in a JavaScript function control is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// In its bytecode: the offset as the interpreter keeps it, see [`Word::Bytecode`].
    Bytecode(u32),
    /// In its compiled code: the return address.
    Code(u64),
}

/// Why an address has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoPlace {
    /// No list of mappings was given for the process.
    NoMappings,
    /// In no executable mapping that was ever listed.
    Unmapped,
}

impl NoPlace {
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoMappings => "mappings of the process unknown",
            Self::Unmapped => "in no executable mapping",
        }
    }
}

/// The executable mappings of every process.
#[derive(Debug, Default)]
pub struct Attribution {
    /// Sorted by start, without overlaps.
    tables: HashMap<ProcessId, Vec<Mapping>>,
}

impl Attribution {
    /// Mappings of `process` as they are now; if they are the `whole` of them, others are forgotten.
    pub fn update(&mut self, process: ProcessId, now: &[Mapping], whole: bool) {
        let table = self.tables.entry(process).or_default();
        if whole {
            table.clear();
        }
        table.retain(|old| !now.iter().any(|new| new.contradicts(old)));
        for new in now {
            lay_over(table, *new);
        }
    }

    /// The process is not asked about any more.
    pub fn forget(&mut self, process: ProcessId) {
        self.tables.remove(&process);
    }

    /// The files that processes have mapped, or had.
    pub fn binaries(&self) -> impl Iterator<Item = BinaryId> {
        self.tables.values().flatten().filter_map(Mapping::binary)
    }

    /// What is known of `process`, sorted by start and without overlaps.
    #[must_use]
    pub fn mappings(&self, process: ProcessId) -> &[Mapping] {
        self.tables.get(&process).map_or(&[], Vec::as_slice)
    }

    /// Whether a return address falls into a known mapping.
    #[must_use]
    pub fn is_known(&self, process: ProcessId, address: u64) -> bool {
        !matches!(self.place(process, address), Place::Unknown(_))
    }

    /// The frames of a stack, of its packed words.
    #[must_use]
    pub fn frames(&self, process: ProcessId, words: &[u64]) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::with_capacity(words.len());
        for word in words {
            match (Word::unpack(*word), frames.last_mut()) {
                (Word::Address(address), _) => frames.push(self.frame(process, address)),
                (Word::Function(function), Some(frame)) => {
                    frame.place = Place::JavaScript { process, function, at: At::Code(frame.address) };
                }
                (Word::Bytecode(offset), Some(Frame { place: Place::JavaScript { at, .. }, .. })) => {
                    *at = At::Bytecode(offset);
                }
                // Nothing that the kernel side writes.
                (Word::Function(_) | Word::Bytecode(_), _) => {}
            }
        }
        frames
    }

    #[must_use]
    pub fn frame(&self, process: ProcessId, address: u64) -> Frame {
        Frame { address, place: self.place(process, address) }
    }

    fn place(&self, process: ProcessId, return_address: u64) -> Place {
        let Some(table) = self.tables.get(&process) else { return Place::Unknown(NoPlace::NoMappings) };
        let address = return_address.saturating_sub(1);
        let after = table.partition_point(|mapping| mapping.start <= address);
        let found = after.checked_sub(1).and_then(|at| table.get(at)).filter(|mapping| address < mapping.end);
        let Some(mapping) = found else { return Place::Unknown(NoPlace::Unmapped) };
        let offset = FileOffset(mapping.offset.0.saturating_add(address - mapping.start));
        match mapping.backing {
            Backing::Binary(binary) => Place::Binary { binary, offset },
            Backing::Vdso => Place::Vdso { offset },
            Backing::Anonymous => Place::Jit { process, address },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ProcessId = ProcessId(1);

    fn mapping(start: u64, end: u64, offset: u64, backing: Backing) -> Mapping {
        Mapping { start, end, offset: FileOffset(offset), backing }
    }

    fn binary(id: u32, offset: u64) -> Place {
        Place::Binary { binary: BinaryId(id), offset: FileOffset(offset) }
    }

    #[test]
    fn a_return_address_is_looked_up_at_the_call_before_it() {
        let mut attribution = Attribution::default();
        attribution.update(PROCESS, &[mapping(0x1000, 0x2000, 0x400, Backing::Binary(BinaryId(7)))], false);
        assert_eq!(attribution.frame(PROCESS, 0x1010).place, binary(7, 0x40f));
        assert_eq!(attribution.frame(PROCESS, 0x2000).place, binary(7, 0x13ff), "a call at the very end");
        assert!(!attribution.is_known(PROCESS, 0x1000), "nothing in the mapping can have called");
        assert!(!attribution.is_known(PROCESS, 0));
    }

    #[test]
    fn a_loaded_library_is_known_after_a_refresh_and_an_unloaded_one_stays_so() {
        let mut attribution = Attribution::default();
        assert_eq!(attribution.frame(PROCESS, 1).place, Place::Unknown(NoPlace::NoMappings));
        attribution.update(PROCESS, &[mapping(0x1000, 0x2000, 0, Backing::Binary(BinaryId(1)))], false);
        assert_eq!(attribution.frame(PROCESS, 0x5001).place, Place::Unknown(NoPlace::Unmapped));
        attribution.update(PROCESS, &[mapping(0x5000, 0x6000, 0, Backing::Binary(BinaryId(2)))], false);
        assert_eq!(attribution.frame(PROCESS, 0x5001).place, binary(2, 0));
        assert_eq!(attribution.frame(PROCESS, 0x1001).place, binary(1, 0));
    }

    #[test]
    fn what_is_mapped_over_an_older_mapping_replaces_it() {
        let mut attribution = Attribution::default();
        attribution.update(PROCESS, &[mapping(0x1000, 0x3000, 0, Backing::Binary(BinaryId(1)))], false);
        attribution.update(PROCESS, &[mapping(0x2000, 0x4000, 0, Backing::Binary(BinaryId(2)))], false);
        assert_eq!(attribution.frame(PROCESS, 0x2001).place, binary(2, 0));
        assert!(!attribution.is_known(PROCESS, 0x1001), "part of an older mapping is no longer trusted");
    }

    #[test]
    fn a_part_of_a_library_mapped_anew_leaves_the_rest_known() {
        let mut attribution = Attribution::default();
        attribution.update(PROCESS, &[mapping(0x1000, 0x9000, 0x400, Backing::Binary(BinaryId(1)))], false);
        attribution.update(PROCESS, &[mapping(0x3000, 0x4000, 0x2400, Backing::Binary(BinaryId(1)))], false);
        assert_eq!(attribution.frame(PROCESS, 0x8001).place, binary(1, 0x7400));
        assert_eq!(attribution.mappings(PROCESS).len(), 1);
    }

    #[test]
    fn a_whole_list_forgets_what_is_not_in_it() {
        let mut attribution = Attribution::default();
        attribution.update(PROCESS, &[mapping(0x1000, 0x2000, 0, Backing::Binary(BinaryId(1)))], false);
        attribution.update(PROCESS, &[mapping(0x5000, 0x6000, 0, Backing::Binary(BinaryId(2)))], true);
        assert!(!attribution.is_known(PROCESS, 0x1001));
        assert!(attribution.is_known(PROCESS, 0x5001));
    }

    #[test]
    fn code_without_a_file_belongs_to_its_process() {
        let mut attribution = Attribution::default();
        let list =
            [mapping(0x1000, 0x2000, 0, Backing::Anonymous), mapping(0x7000, 0x8000, 0, Backing::Vdso)];
        attribution.update(PROCESS, &list, false);
        let jit = Place::Jit { process: PROCESS, address: 0x1fff };
        assert_eq!(attribution.frame(PROCESS, 0x2000).place, jit);
        assert_eq!(attribution.frame(PROCESS, 0x7011).place, Place::Vdso { offset: FileOffset(0x10) });
        assert!(!attribution.is_known(ProcessId(2), 0x2000));
    }
}
