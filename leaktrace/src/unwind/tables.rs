//! Which tables each process unwinds by, kept in the kernel's maps as its mappings change.
//!
//! Order of publishing: rows, rules, page table, list of mappings, and last the process's own entry, by which the
//! kernel side finds all the others. What an entry referred to before rests before its memory is used again.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    io,
    time::Duration,
};

use leaktrace_common::{
    process::ProcessId,
    unwind::{MAX_MAPPINGS, MappingEntry, ProcessTable, Ref},
};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::{
    arena::{Arena, ArenaError, Chunks, REST, Span},
    image::{FileId, Image, Images},
    mapping::{Code, CodeMapping},
    page::Pages,
    rows::RowsError,
    segment::{self, Segment},
};

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

/// What an update could not make tables of.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Binaries that could not be opened or read; their code is unwound by frame pointers.
    pub unreadable: Vec<(CodeMapping, RowsError)>,
    /// Mappings over [`MAX_MAPPINGS`].
    pub left_out: usize,
}

/// Number of a binary in `Tables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BinaryId(u32);

/// A binary's tables in the arena.
struct Loaded {
    spans: Vec<Span>,
    page_table: Ref,
    first_page: u32,
    pages: u32,
    rules: Ref,
    segments: Vec<Segment>,
    flags: u32,
    /// Processes that have it mapped.
    users: usize,
    /// When the last of them was gone.
    unused_since: Duration,
}

/// A process's mappings as published.
struct Published {
    mappings: Vec<(CodeMapping, Option<BinaryId>)>,
    list: Span,
    /// What each range of addresses meant since the epoch began.
    meanings: HashMap<(u64, u64), Meaning>,
    epoch: u32,
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
        let mappings = &mappings[..mappings.len() - gaps.left_out];
        if let Some(before) = self.processes.get(&process)
            && before.mappings.iter().map(|(mapping, _)| mapping).eq(mappings)
        {
            return Ok(gaps);
        }
        let mut found = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let binary = match self.known(process, mapping) {
                Some(binary) => binary,
                None if mapping.code == Code::Anonymous => None,
                None => self.load(mapping, images, now, &mut gaps)?,
            };
            found.push((mapping.clone(), binary));
        }
        self.publish(process, found, now)?;
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

    /// Bytes of the arena, and how many of them are in use.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        (self.arena.size(), self.arena.used())
    }

    /// What the same mapping was in the process before.
    fn known(&self, process: ProcessId, mapping: &CodeMapping) -> Option<Option<BinaryId>> {
        let before = &self.processes.get(&process)?.mappings;
        let index = before.binary_search_by_key(&mapping.start, |(mapping, _)| mapping.start).ok()?;
        let (known, binary) = &before[index];
        (known == mapping).then_some(*binary)
    }

    /// Finds the tables of a mapping's binary, or makes them. None if it has none.
    fn load(
        &mut self,
        mapping: &CodeMapping,
        images: &mut impl Images,
        now: Duration,
        gaps: &mut Gaps,
    ) -> Result<Option<BinaryId>, TablesError> {
        if mapping.code == Code::Vdso && self.vdso.is_some() {
            return Ok(self.vdso);
        }
        let image = match images.open(mapping) {
            Ok(image) => image,
            Err(error) => {
                gaps.unreadable.push((mapping.clone(), RowsError::Open(error)));
                return Ok(None);
            }
        };
        let file = image.id();
        if let Some(known) = file.and_then(|file| self.by_file.get(&file)) {
            return Ok(Some(*known));
        }
        let binary = match self.read(image, now) {
            Ok(binary) => binary?,
            Err(error) => {
                gaps.unreadable.push((mapping.clone(), error));
                return Ok(None);
            }
        };
        if let Some(file) = file {
            self.by_file.insert(file, binary);
        }
        if mapping.code == Code::Vdso {
            self.vdso = Some(binary);
        }
        Ok(Some(binary))
    }

    fn read(&mut self, image: Image, now: Duration) -> Result<Result<BinaryId, TablesError>, RowsError> {
        let (binary, pages) = image.read(|build_id| self.by_build_id.contains_key(build_id))?;
        if let Some(known) = binary.build_id.as_ref().and_then(|build_id| self.by_build_id.get(build_id)) {
            return Ok(Ok(*known));
        }
        let mut loaded = Loaded {
            spans: Vec::new(),
            page_table: Ref::default(),
            first_page: 0,
            pages: 0,
            rules: Ref::default(),
            segments: binary.segments,
            flags: if binary.has_v8 { MappingEntry::CHAIN_IN_HOLES } else { 0 },
            users: 0,
            unused_since: now,
        };
        match pages {
            None => loaded.flags |= MappingEntry::NO_TABLES,
            Some(pages) => {
                if let Err(error) = self.place(&pages, &mut loaded) {
                    for span in loaded.spans {
                        self.arena.give_up(span, now);
                    }
                    return Ok(Err(error.into()));
                }
            }
        }
        let id = BinaryId(self.next_binary);
        self.next_binary += 1;
        if let Some(build_id) = binary.build_id {
            self.by_build_id.insert(build_id, id);
        }
        self.binaries.insert(id, loaded);
        Ok(Ok(id))
    }

    /// Writes a binary's tables into the arena: rows, rules, page table.
    fn place(&mut self, pages: &Pages, loaded: &mut Loaded) -> Result<(), ArenaError> {
        let mut table = Vec::with_capacity(pages.counts.len() * 2);
        let mut rest = &pages.rows[..];
        let mut counts = pages.counts.iter().copied().peekable();
        while counts.peek().is_some() {
            // As many pages together as fit a part of a chunk: less to keep account of.
            let mut group = Vec::new();
            let mut words = 0;
            while let Some(count) = counts.next_if(|count| words == 0 || words + count <= GROUP_WORDS) {
                group.push((words, count));
                words += count;
            }
            let (rows, others) = rest.split_at(words as usize);
            rest = others;
            let span = self.arena.place(rows)?;
            let Ref(place) = span.place();
            table.extend(group.into_iter().flat_map(|(start, count)| [place + start, count]));
            loaded.spans.push(span);
        }
        let rules = self.arena.place(&words_of(&pages.rules))?;
        loaded.rules = rules.place();
        loaded.spans.push(rules);
        let page_table = self.arena.place(&table)?;
        loaded.page_table = page_table.place();
        loaded.spans.push(page_table);
        loaded.first_page = pages.first;
        loaded.pages = pages.counts.len() as u32;
        Ok(())
    }

    fn publish(
        &mut self,
        process: ProcessId,
        mappings: Vec<(CodeMapping, Option<BinaryId>)>,
        now: Duration,
    ) -> Result<(), TablesError> {
        let entries: Vec<MappingEntry> =
            mappings.iter().map(|(mapping, binary)| self.entry(mapping, *binary)).collect();
        let is_jit = |entry: &MappingEntry| entry.flags & MappingEntry::CHAIN_IN_HOLES != 0;
        let has_jit = mappings.iter().any(|(mapping, _)| mapping.code == Code::Anonymous);
        let flags = if has_jit || entries.iter().any(is_jit) { ProcessTable::HAS_JIT } else { 0 };
        self.generation += 1;
        let mut epoch = self.processes.get(&process).map_or(self.generation, |before| before.epoch);
        let mut meanings = self
            .processes
            .get_mut(&process)
            .map(|before| std::mem::take(&mut before.meanings))
            .unwrap_or_default();
        let current: Vec<_> = mappings
            .iter()
            .zip(&entries)
            .filter_map(|((mapping, binary), entry)| {
                Some(((mapping.start, mapping.end), ((*binary)?, entry.bias)))
            })
            .collect();
        if meanings.len() > MAX_MEANINGS || contradicts(&meanings, &current) {
            epoch = self.generation;
            meanings.clear();
        }
        meanings.extend(current);
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
        let before = self.processes.insert(process, Published { mappings, list, meanings, epoch });
        if let Some(before) = before {
            self.retire(&before.mappings, before.list, now);
        }
        Ok(())
    }

    /// Gives up what an entry referred to that is published no more.
    fn retire(&mut self, mappings: &[(CodeMapping, Option<BinaryId>)], list: Span, now: Duration) {
        self.arena.give_up(list, now);
        for binary in used(mappings) {
            if let Some(binary) = self.binaries.get_mut(&binary) {
                binary.users -= 1;
                binary.unused_since = now;
            }
        }
    }

    fn entry(&self, mapping: &CodeMapping, binary: Option<BinaryId>) -> MappingEntry {
        let CodeMapping { start, end, offset, .. } = *mapping;
        let without = MappingEntry { start, end, flags: MappingEntry::NO_TABLES, ..MappingEntry::default() };
        let Some(binary) = binary.and_then(|binary| self.binaries.get(&binary)) else { return without };
        let Some(bias) = segment::bias(&binary.segments, start, offset, end - start) else { return without };
        MappingEntry {
            start,
            end,
            bias,
            page_table: binary.page_table,
            first_page: binary.first_page,
            pages: binary.pages,
            rules: binary.rules,
            flags: binary.flags,
            padding: 0,
        }
    }
}

/// Words of rows that are placed together: a quarter of a chunk.
const GROUP_WORDS: u32 = 1 << 14;

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
fn used(mappings: &[(CodeMapping, Option<BinaryId>)]) -> HashSet<BinaryId> {
    mappings.iter().filter_map(|(_, binary)| *binary).collect()
}

/// The words of plain records.
fn words_of<T: IntoBytes + zerocopy::Immutable>(records: &[T]) -> Vec<u32> {
    records.as_bytes().as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}
