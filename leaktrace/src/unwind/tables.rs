//! Which tables each process unwinds by, kept in the kernel's maps as its mappings change.
//!
//! Order of publishing: rows, rules, page table, list of mappings, and last the process's own entry, by which the
//! kernel side finds all the others. What an entry referred to before rests before its memory is used again.

mod loaded;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    io,
    time::Duration,
};

use leaktrace_common::{
    process::ProcessId,
    unwind::{MAX_MAPPINGS, MappingEntry, ProcessTable},
};
use thiserror::Error;

use super::{
    arena::{Arena, ArenaError, Chunks, REST, Span},
    image::{Image, Images},
    mapping::{Code, CodeMapping},
    rows::RowsError,
};
use crate::process::FileId;
use loaded::{Loaded, words_of};

/// The kernel's map `UNWIND_TABLES`.
pub trait Processes {
    /// Sets a process's entry.
    fn publish(&mut self, process: ProcessId, table: ProcessTable) -> io::Result<()>;

    /// Removes it; that it is not there is no error.
    fn withdraw(&mut self, process: ProcessId) -> io::Result<()>;
}

#[derive(Debug, Error)]
pub enum TablesError {
    #[error(transparent)]
    Arena(#[from] ArenaError),
    #[error("cannot set the unwind tables of process {process:?}: {source}")]
    Publish { process: ProcessId, source: io::Error },
}

/// Why a binary has no tables although it may have call frame information.
#[derive(Debug, Error)]
pub enum Unread {
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

/// What an update could not make tables of.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Binaries that could not be opened, read or placed; their code is unwound by frame pointers, as a guess.
    pub unreadable: Vec<(CodeMapping, Unread)>,
    /// Mappings over [`MAX_MAPPINGS`].
    pub left_out: usize,
}

/// Number of a binary in `Tables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BinaryId(u32);

/// What a mapping's code is unwound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backed {
    Binary(BinaryId),
    /// Made by the process itself.
    Nothing,
    /// A binary that could not be read, see [`Gaps::unreadable`].
    Unread,
}

impl Backed {
    const fn binary(self) -> Option<BinaryId> {
        match self {
            Self::Binary(id) => Some(id),
            Self::Nothing | Self::Unread => None,
        }
    }
}

/// A process's mappings as published.
struct Published {
    mappings: Vec<(CodeMapping, Backed)>,
    list: Span,
    /// What each range of addresses meant since the epoch began.
    meanings: HashMap<(u64, u64), Meaning>,
    table: ProcessTable,
}

/// A binary, by its number and where it is loaded.
type Meaning = (BinaryId, u64);

/// All tables of all traced processes.
pub struct Tables<C: Chunks, P: Processes> {
    arena: Arena<C>,
    kernel: P,
    binaries: HashMap<BinaryId, Loaded>,
    by_file: HashMap<FileId, BinaryId>,
    by_build_id: HashMap<Vec<u8>, BinaryId>,
    vdso: Option<BinaryId>,
    processes: HashMap<ProcessId, Published>,
    next_binary: u32,
    generation: u32,
}

impl<C: Chunks, P: Processes> Tables<C, P> {
    pub fn new(chunks: C, kernel: P) -> Self {
        Self {
            arena: Arena::new(chunks),
            kernel,
            binaries: HashMap::new(),
            by_file: HashMap::new(),
            by_build_id: HashMap::new(),
            vdso: None,
            processes: HashMap::new(),
            next_binary: 0,
            generation: 0,
        }
    }

    /// Makes `mappings`, sorted by address, what `process` unwinds by. To be called when the process is found
    /// or forked, and whenever its mappings have changed. `now` is any clock that only goes forward.
    ///
    /// # Errors
    /// If the kernel refuses memory or the entry; the process then keeps what it had.
    pub fn update(
        &mut self,
        process: ProcessId,
        mappings: &[CodeMapping],
        images: &mut impl Images,
        now: Duration,
    ) -> Result<Gaps, TablesError> {
        self.settle(now);
        let mut gaps = Gaps { left_out: mappings.len().saturating_sub(MAX_MAPPINGS), ..Gaps::default() };
        let makes_code = mappings.iter().any(|mapping| mapping.code == Code::Anonymous);
        let kept = fitting(mappings, gaps.left_out);
        let mappings = &*kept;
        if let Some(before) = self.processes.get(&process)
            && before.mappings.iter().map(|(mapping, _)| mapping).eq(mappings)
            && (before.table.flags & ProcessTable::HAS_JIT != 0 || !makes_code)
        {
            return Ok(gaps);
        }
        let mut found = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let backed = match self.known(process, mapping) {
                Some(backed) => backed,
                None if mapping.code == Code::Anonymous => Backed::Nothing,
                None => match self.load(mapping, images, now) {
                    Ok(binary) => Backed::Binary(binary),
                    Err(why) => {
                        gaps.unreadable.push((mapping.clone(), why));
                        Backed::Unread
                    }
                },
            };
            found.push((mapping.clone(), backed));
        }
        self.publish(process, found, makes_code, now)?;
        Ok(gaps)
    }

    /// Forgets a process that has ended or is not traced any more.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self, process: ProcessId, now: Duration) -> Result<(), TablesError> {
        let withdrawn = self.kernel.withdraw(process);
        if let Some(published) = self.processes.remove(&process) {
            self.retire(&published.mappings, published.list, now);
        }
        withdrawn.map_err(|source| TablesError::Publish { process, source })
    }

    /// Frees what nobody has used for a while. `update` does it too.
    pub fn settle(&mut self, now: Duration) {
        self.arena.settle(now);
        let arena = &mut self.arena;
        let dropped =
            self.binaries.extract_if(|_, binary| binary.users == 0 && binary.unused_since + REST <= now);
        for (id, binary) in dropped {
            self.by_file.retain(|_, other| *other != id);
            self.by_build_id.retain(|_, other| *other != id);
            if self.vdso == Some(id) {
                self.vdso = None;
            }
            for span in binary.spans {
                arena.give_up(span, now);
            }
        }
    }

    /// Where the tables are.
    #[must_use]
    pub const fn arena(&self) -> &Arena<C> {
        &self.arena
    }

    /// The process's entry in the kernel's map, if it has one.
    #[must_use]
    pub fn of(&self, process: ProcessId) -> Option<&ProcessTable> {
        self.processes.get(&process).map(|published| &published.table)
    }

    /// Bytes of the arena, and how many of them are in use.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        (self.arena.size(), self.arena.used())
    }

    /// What the same mapping was in the process before.
    fn known(&self, process: ProcessId, mapping: &CodeMapping) -> Option<Backed> {
        let before = &self.processes.get(&process)?.mappings;
        let index = before.binary_search_by_key(&mapping.start, |(mapping, _)| mapping.start).ok()?;
        let (known, backed) = &before[index];
        (known == mapping).then_some(*backed)
    }

    /// Finds the tables of a mapping's binary, or makes them. What goes wrong concerns this binary alone.
    fn load(
        &mut self,
        mapping: &CodeMapping,
        images: &mut impl Images,
        now: Duration,
    ) -> Result<BinaryId, Unread> {
        if let (Code::Vdso, Some(vdso)) = (mapping.code, self.vdso) {
            return Ok(vdso);
        }
        let image = images.open(mapping).map_err(RowsError::Open)?;
        let file = image.id();
        if let Some(known) = file.and_then(|file| self.by_file.get(&file)) {
            return Ok(*known);
        }
        let binary = self.read(image, now)?;
        if let Some(file) = file {
            self.by_file.insert(file, binary);
        }
        if mapping.code == Code::Vdso {
            self.vdso = Some(binary);
        }
        Ok(binary)
    }

    fn read(&mut self, image: Image, now: Duration) -> Result<BinaryId, Unread> {
        let (binary, pages) = image.read(|build_id| self.by_build_id.contains_key(build_id))?;
        if let Some(known) = binary.build_id.as_ref().and_then(|build_id| self.by_build_id.get(build_id)) {
            return Ok(*known);
        }
        let flags = if binary.has_v8 { MappingEntry::CHAIN_IN_HOLES } else { 0 };
        let loaded = Loaded::place(&mut self.arena, binary.segments, flags, pages.as_ref(), now)?;
        let id = BinaryId(self.next_binary);
        self.next_binary += 1;
        if let Some(build_id) = binary.build_id {
            self.by_build_id.insert(build_id, id);
        }
        self.binaries.insert(id, loaded);
        Ok(id)
    }

    fn publish(
        &mut self,
        process: ProcessId,
        mappings: Vec<(CodeMapping, Backed)>,
        makes_code: bool,
        now: Duration,
    ) -> Result<(), TablesError> {
        let entries: Vec<MappingEntry> =
            mappings.iter().map(|(mapping, backed)| self.entry(mapping, *backed)).collect();
        let is_jit = |entry: &MappingEntry| entry.flags & MappingEntry::CHAIN_IN_HOLES != 0;
        let flags = if makes_code || entries.iter().any(is_jit) { ProcessTable::HAS_JIT } else { 0 };
        self.generation += 1;
        let current: Vec<_> = mappings
            .iter()
            .zip(&entries)
            .filter_map(|((mapping, backed), entry)| {
                Some(((mapping.start, mapping.end), (backed.binary()?, entry.bias)))
            })
            .collect();
        let is_kept = |before: &&Published| {
            before.meanings.len() <= MAX_MEANINGS && !contradicts(&before.meanings, &current)
        };
        let kept = self.processes.get(&process).filter(is_kept);
        let (keeps_epoch, epoch) = (kept.is_some(), kept.map_or(self.generation, |kept| kept.table.epoch));
        let list = self.arena.place(&words_of(&entries))?;
        let table = ProcessTable {
            mappings: list.place(),
            count: entries.len() as u32,
            generation: self.generation,
            epoch,
            flags,
        };
        if let Err(source) = self.kernel.publish(process, table) {
            self.arena.give_up(list, now);
            return Err(TablesError::Publish { process, source });
        }
        for binary in used(&mappings) {
            if let Some(binary) = self.binaries.get_mut(&binary) {
                binary.users += 1;
            }
        }
        // Only now that nothing can fail any more: what addresses meant must not be lost.
        let before = self.processes.remove(&process);
        let mut meanings = HashMap::new();
        if let Some(before) = before {
            self.retire(&before.mappings, before.list, now);
            meanings = before.meanings;
        }
        if !keeps_epoch {
            meanings.clear();
        }
        meanings.extend(current);
        self.processes.insert(process, Published { mappings, list, meanings, table });
        Ok(())
    }

    /// Gives up what an entry referred to that is published no more.
    fn retire(&mut self, mappings: &[(CodeMapping, Backed)], list: Span, now: Duration) {
        self.arena.give_up(list, now);
        for binary in used(mappings) {
            if let Some(binary) = self.binaries.get_mut(&binary) {
                binary.users -= 1;
                binary.unused_since = now;
            }
        }
    }

    fn entry(&self, mapping: &CodeMapping, backed: Backed) -> MappingEntry {
        backed.binary().and_then(|binary| self.binaries.get(&binary)?.entry(mapping)).unwrap_or_else(|| {
            let CodeMapping { start, end, .. } = *mapping;
            let flags = match backed {
                Backed::Unread => MappingEntry::UNREAD,
                Backed::Binary(_) | Backed::Nothing => MappingEntry::NO_TABLES,
            };
            MappingEntry { start, end, flags, ..MappingEntry::default() }
        })
    }
}

/// All but `excess` mappings: those of no file go first, as walks guess through code in no mapping just as they go
/// through those; then the last ones.
fn fitting(mappings: &[CodeMapping], excess: usize) -> Cow<'_, [CodeMapping]> {
    if excess == 0 {
        return Cow::Borrowed(mappings);
    }
    let mut anonymous = excess;
    let is_kept = |mapping: &&CodeMapping| {
        let goes = mapping.code == Code::Anonymous && anonymous > 0;
        anonymous -= usize::from(goes);
        !goes
    };
    let mut kept: Vec<CodeMapping> = mappings.iter().filter(is_kept).cloned().collect();
    kept.truncate(mappings.len() - excess);
    Cow::Owned(kept)
}

/// Ranges of addresses that are remembered of a process. One that loads and unloads libraries for ever at other
/// addresses begins a new epoch then.
const MAX_MEANINGS: usize = 4 * MAX_MAPPINGS;

/// Whether an address of `current` meant something else before.
fn contradicts(meanings: &HashMap<(u64, u64), Meaning>, current: &[((u64, u64), Meaning)]) -> bool {
    let is_new = |it: &&((u64, u64), Meaning)| meanings.get(&it.0) != Some(&it.1);
    current.iter().filter(is_new).any(|((start, end), meaning)| {
        meanings.iter().any(|(range, other)| range.0 < *end && *start < range.1 && other != meaning)
    })
}

/// The binaries of a list, each once.
fn used(mappings: &[(CodeMapping, Backed)]) -> HashSet<BinaryId> {
    mappings.iter().filter_map(|(_, backed)| backed.binary()).collect()
}
