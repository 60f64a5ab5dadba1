//! glibc's malloc read from outside: which chunks its arenas hold, and which of them are in use.
//!
//! Nothing but the process's memory is read, by [`crate::process::ReadUser`]: no probe, no stop, no symbols. What malloc's variables
//! look like tells where they are ([`find`]), the version says what they mean ([`layout`]), and each fact is checked on
//! the process itself; what does not fit is refused. Hard to know, and relied on here:
//!
//! - A chunk's mark of use stands in the next chunk's header. Blocks in a thread's own lists (tcache) and in fastbins
//!   keep it, so these lists are read too.
//! - A thread's lists hang on a structure that is a chunk itself. Which one is told by what is in it: heads of lists of
//!   the right sizes, whose blocks carry the number `tcache_key`.
//! - Blocks with mappings of their own are in no list. `mp_` counts them, so it is known how many were not found.
//!
//! Read on a running process, a chunk may have been given out or back a moment ago. What stays as it is while it is
//! read is told right; [`Look`] says what could not be walked.
//!
//! Not read: blocks behind a gap in the main arena (another caller of `sbrk`, or an arena that had to go on in a
//! mapping), see [`Look::unwalked`].

mod arena;
mod census;
mod chunk;
mod error;
mod find;
mod growth;
mod identify;
mod layout;
mod lists;
mod mapped;
mod sink;
mod walk;
mod words;

use std::{
    collections::BTreeSet,
    ops::{Range, RangeInclusive},
};

use self::{
    arena::{Arena, Region},
    chunk::HEADER,
    find::{Data, Found, Parameters},
    identify::Glibc,
    layout::Layout,
    lists::{FreeLists, Lists},
    mapped::Mapped,
    sink::{All, Asked, Sink},
    walk::{End, Passed, Walk},
};
pub use self::{
    census::{Amount, Census, SizeClass},
    chunk::{Chunk, ChunkState, Liveness, WhyUnknown},
    error::{Misfit, Refused},
    growth::{Growth, Looks},
    identify::Libcs,
    layout::Version,
};
use crate::process::{Mappings, Memory, Pages, ProcessError, ReadUser as _};

/// How often malloc's variables are looked for: a running program may be changing several that belong together.
const TRIES: u32 = 3;

/// The heap of one process that uses glibc's malloc.
#[derive(Debug)]
pub struct HeapReader {
    pid: u32,
    memory: Memory,
    pages: Pages,
    version: Option<Version>,
    layout: &'static Layout,
    /// Where malloc's variables are, among others.
    data: Vec<Range<u64>>,
    found: Found,
    /// `tcache_key`.
    key: Option<u64>,
    /// Threads' structures that were seen.
    tcaches: BTreeSet<u64>,
}

/// How much of blocks of like size there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeInUse {
    /// Bytes that malloc was asked for.
    pub requests: RangeInclusive<u64>,
    /// In use at the most: some may have been given a larger chunk, or a mapping of their own.
    pub most: u64,
    /// Chunks in use of the size that is made for them.
    pub usual: u64,
}

/// What became of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// In the order in which they were asked for.
    pub states: Vec<Liveness>,
    /// Of sizes that are in use below 64 KiB; empty where not all of the heap was walked.
    pub sizes: Vec<SizeInUse>,
}

/// What a look at a heap read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub arenas: u64,
    /// Threads whose own lists were read.
    pub tcaches: u64,
    /// Bytes of arenas that were walked.
    pub walked: u64,
    /// Bytes of arenas that could not be: behind a gap, or changing too fast.
    pub unwalked: u64,
    /// Blocks with mappings of their own: how many malloc counts, and how many of these were found.
    pub mapped: u64,
    pub mapped_found: u64,
    /// Lists of free blocks that changed each time they were read.
    pub torn_lists: u64,
    /// Steps that did not fit at first, and were read again.
    pub retries: u64,
}

/// The parts of the heap, as they are just now.
struct Parts {
    arenas: Vec<Arena>,
    regions: Vec<Region>,
    parameters: Parameters,
}

impl HeapReader {
    /// Finds the malloc of a process. `page` is the size in bytes of the machine's pages.
    ///
    /// # Errors
    /// The process cannot be read, or its heap is not one that is known.
    pub fn open(pid: u32, page: u64) -> Result<Self, Refused> {
        Self::open_with(pid, page, &mut Libcs::default())
    }

    /// The same for one of many processes, of which most have their libc from few files.
    ///
    /// # Errors
    /// As [`HeapReader::open`].
    pub fn open_with(pid: u32, page: u64, libcs: &mut Libcs) -> Result<Self, Refused> {
        let memory = Memory::open(pid)?;
        let pages = Pages::open(pid, page)?;
        let mappings = Mappings::read(pid)?;
        let Glibc { version, data } = identify::identify(pid, &mappings, libcs)?;
        let mut tries = 1..=TRIES;
        let (layout, found) = loop {
            match locate(pid, &memory, &Data::read(&memory, &data), version) {
                Err(Refused::Misfit { .. }) if tries.next() < Some(TRIES) => {}
                located => break located?,
            }
        };
        Ok(Self { pid, memory, pages, version, layout, data, found, key: None, tcaches: BTreeSet::new() })
    }

    /// The version of glibc; a static program does not say it.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether that process has this memory: one that was opened before may have ended, or have run another program.
    #[must_use]
    pub fn is_in(&self, memory: &Memory) -> bool {
        memory.word(self.found.main_arena).is_some()
    }

    /// What is in use, by size.
    ///
    /// # Errors
    /// The process has ended, or its heap is not as it should be.
    pub fn census(&mut self) -> Result<(Census, Look), Refused> {
        let mut census = Census::default();
        let mappings = Mappings::read(self.pid)?;
        let look = self.look(&mappings, |_| true, &mut census)?;
        Ok((census, look))
    }

    /// Every chunk, by address but for those with mappings of their own, which come last.
    ///
    /// # Errors
    /// As [`HeapReader::census`].
    pub fn chunks(&mut self) -> Result<(Vec<Chunk>, Look), Refused> {
        let mut all = All::default();
        let mappings = Mappings::read(self.pid)?;
        let look = self.look(&mappings, |_| true, &mut all)?;
        Ok((all.0, look))
    }

    /// Whether each of these blocks, by the addresses that malloc returned, is in use. Where possible, only the regions
    /// that hold one are walked.
    ///
    /// # Errors
    /// As [`HeapReader::census`].
    pub fn check(&mut self, blocks: &[u64]) -> Result<Checked, Refused> {
        let mut sorted = blocks.to_vec();
        sorted.sort_unstable();
        let mappings = Mappings::read(self.pid)?;
        let parts = self.parts()?;
        let mut lost = Vec::new();
        let mut asked = Asked::new(&sorted);
        let mut is_whole = true;
        let holds = |region: &Region| {
            let from = sorted.partition_point(|address| *address < region.first);
            sorted.get(from).is_some_and(|address| *address < region.end)
        };
        // A block in the list of a thread that is not known looks used. Its key tells, or is left from earlier.
        if let Some(key) = self.key {
            self.walk(&parts, holds, &mut asked, &mut lost, &mut Look::default());
            is_whole = parts.regions.iter().all(holds);
            let has_key = |block: u64| words::pair(&self.memory, block).is_some_and(|(_, word)| word == key);
            if asked.in_use().any(has_key) {
                asked = Asked::new(&sorted);
                lost.clear();
                is_whole = true;
                self.walk(&parts, |_| true, &mut asked, &mut lost, &mut Look::default());
            }
        } else {
            self.walk(&parts, |_| true, &mut asked, &mut lost, &mut Look::default());
        }
        let liveness = |address: &u64| match asked.found(*address) {
            Some(ChunkState::InUse) => Liveness::Live,
            Some(_) => Liveness::Free,
            None if lost.iter().any(|part| part.contains(address)) => {
                Liveness::Unknown(WhyUnknown::NotWalked)
            }
            // No chunk begins there: it was merged with its neighbours.
            None if parts.regions.iter().any(|region| (region.first..region.end).contains(address)) => {
                Liveness::Free
            }
            None => match mapped::is_block(&self.memory, self.layout, &mappings, *address) {
                true => Liveness::Live,
                false => Liveness::Free,
            },
        };
        let states = blocks.iter().map(liveness).collect();
        let mapped = u64::from(parts.parameters.mmaps);
        let sizes = if is_whole && lost.is_empty() { asked.sizes(mapped) } else { Vec::new() };
        Ok(Checked { states, sizes })
    }

    fn look(
        &mut self,
        mappings: &Mappings,
        wanted: impl Fn(&Region) -> bool,
        sink: &mut impl Sink,
    ) -> Result<Look, Refused> {
        let parts = self.parts()?;
        let mut look = Look { arenas: parts.arenas.len() as u64, ..Look::default() };
        let mut lost = Vec::new();
        self.walk(&parts, wanted, sink, &mut lost, &mut look);
        look.unwalked = lost.iter().map(|part| part.end - part.start).sum();
        let mapped = self.mapped(mappings, &parts);
        look.mapped = u64::from(parts.parameters.mmaps);
        look.mapped_found = mapped.chunks.len() as u64;
        mapped.chunks.into_iter().for_each(|chunk| sink.chunk(chunk));
        look.tcaches = self.tcaches.len() as u64;
        Ok(look)
    }

    fn parts(&self) -> Result<Parts, Refused> {
        let misfit = |what| match what {
            // Memory that is gone belongs to a process that is.
            Misfit::Unreadable => Refused::Process(ProcessError::NoSuchProcess { pid: self.pid }),
            what => Refused::Misfit { pid: self.pid, version: self.version_name(), what },
        };
        let parameters = Parameters::read(&self.memory, self.layout, self.found.parameters)
            .ok_or_else(|| misfit(Misfit::Unreadable))?;
        let arenas = arena::ring(&self.memory, self.layout, self.found.main_arena).map_err(misfit)?;
        let mut regions = Vec::new();
        for (number, arena) in arenas.iter().enumerate() {
            regions
                .extend(arena.regions(&self.memory, self.layout, number == 0, &parameters).map_err(misfit)?);
        }
        regions.sort_unstable_by_key(|region| region.first);
        Ok(Parts { arenas, regions, parameters })
    }

    fn version_name(&self) -> String {
        self.version.map_or_else(|| "(static)".to_owned(), |version| version.to_string())
    }

    fn walk(
        &mut self,
        parts: &Parts,
        wanted: impl Fn(&Region) -> bool,
        sink: &mut impl Sink,
        lost: &mut Vec<Range<u64>>,
        look: &mut Look,
    ) {
        let before = self.free_lists(parts);
        let mut candidates = Vec::new();
        let mut walk = Walk::new(&self.memory, self.layout);
        for region in parts.regions.iter().filter(|region| wanted(region)) {
            let mut free = before.chunks.range(region.first..).peekable();
            let end = walk.region(region, |passed| {
                let Passed { header, size, in_use } = passed;
                while free.next_if(|(listed, _)| **listed < header).is_some() {}
                let listed = free.next_if(|(listed, _)| **listed == header).map(|(_, listed)| listed.1);
                let state = match in_use {
                    false => ChunkState::InBin,
                    true => listed.unwrap_or(ChunkState::InUse),
                };
                if state == ChunkState::InUse && self.layout.tcache_chunks().contains(&size) {
                    candidates.push(header + HEADER);
                }
                sink.chunk(Chunk::in_arena(header, size, state));
            });
            let reached = match end {
                End::Top { header, size } => {
                    sink.chunk(Chunk::in_arena(header, size, ChunkState::Top));
                    header + size
                }
                End::Gap { at } if !region.main => at,
                End::Gap { at } | End::Lost { at } => {
                    lost.push(at..region.end.max(at));
                    at
                }
            };
            look.walked += reached - region.first;
        }
        look.retries = walk.retries;
        self.find_tcaches(candidates);
        let after = self.free_lists(parts);
        look.torn_lists = after.torn;
        for (header, (size, state)) in after.chunks {
            if !before.chunks.contains_key(&header) {
                sink.correct(Chunk::in_arena(header, size, state));
            }
        }
    }

    /// Takes new structures of threads.
    fn find_tcaches(&mut self, candidates: Vec<u64>) {
        let mut bytes = vec![0; self.layout.tcache.size()];
        let mut lists = Lists::new(&self.memory, self.layout, &self.data, &mut self.key);
        for address in candidates {
            if lists.is_tcache(address, &mut bytes) {
                self.tcaches.insert(address);
            }
        }
    }

    fn free_lists(&mut self, parts: &Parts) -> FreeLists {
        let mut bytes = vec![0; self.layout.tcache.size()];
        let mut lists = Lists::new(&self.memory, self.layout, &self.data, &mut self.key);
        // Threads end, and their structures are given back.
        self.tcaches.retain(|address| lists.is_tcache(*address, &mut bytes));
        let tcaches: Vec<u64> = self.tcaches.iter().copied().collect();
        lists.read(&parts.arenas, &tcaches)
    }

    fn mapped(&self, mappings: &Mappings, parts: &Parts) -> Mapped {
        let arenas: Vec<Range<u64>> = parts.regions.iter().map(|region| region.first..region.end).collect();
        let resident = || self.pages.resident(mappings).map(|resident| resident.runs).unwrap_or_default();
        mapped::find(&self.memory, self.layout, mappings, &arenas, &parts.parameters, resident)
    }
}

/// A static program does not say its version: the layout that fits.
fn locate(
    pid: u32,
    memory: &Memory,
    data: &Data,
    version: Option<Version>,
) -> Result<(&'static Layout, Found), Refused> {
    let Some(version) = version else { return by_shape(pid, memory, data) };
    let layout = Layout::of(version).ok_or(Refused::UnknownVersion { pid, version })?;
    let misfit = |what| Refused::Misfit { pid, version: version.to_string(), what };
    Ok((layout, find::find(memory, data, layout).map_err(misfit)?))
}

fn by_shape(pid: u32, memory: &Memory, data: &Data) -> Result<(&'static Layout, Found), Refused> {
    let mut last = Misfit::NoArena;
    for layout in Layout::told_by_shape() {
        match find::find(memory, data, layout) {
            Ok(found) => match first_chunk_fits(memory, layout, found) {
                true => return Ok((layout, found)),
                false => last = Misfit::FirstChunk,
            },
            Err(misfit) => last = misfit,
        }
    }
    Err(Refused::Misfit {
        pid,
        version: "2.35 to 2.43 (a static program does not say which)".to_owned(),
        what: last,
    })
}

/// 2.42 and those before differ in the structures of threads alone, of which the first is what malloc allocates first.
fn first_chunk_fits(memory: &Memory, layout: &Layout, found: Found) -> bool {
    layout.state.fastbins.is_none()
        || Parameters::read(memory, layout, found.parameters)
            .and_then(|parameters| words::pair(memory, find::first_chunk(parameters.sbrk_base)))
            .is_some_and(|(_, size)| layout.tcache_chunks().contains(&chunk::size_of(size)))
}

#[cfg(test)]
mod tests;
