//! JavaScript engines in the traced processes: told to the kernel side, and their samples to the books.

mod reader;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use leaktrace_common::{process::ProcessId, v8};

use self::reader::Reader;
use super::probes::Probes;
use crate::{
    attribute::Place,
    event::{self, Backing, BinaryId, Event, FileOffset, Mapping},
    kernel::{Kernel, LoadError},
    process::{Memory, ReadUser as _},
    runtime::v8::{capability, detect::V8, distort},
    source_map::SourceMaps,
    symbolize::{Named, Names, TypeOf},
};

/// Mean bytes between two samples unless the user says more or less.
const INTERVAL: u64 = 512 << 10;
/// A sample takes some 50 microseconds of the program's time: 100 a second, which is what comes of this, half of one percent.
const LEAST_APART: u64 = 4_000_000;

/// V8's copy of its builtins is not smaller than this, and begins within as many bytes of a mapping's start.
const SMALLEST_COPY: u64 = 1 << 20;
const SEARCHED: usize = 1 << 18;
/// Bytes by which the copy is recognised.
const SIGNATURE: usize = 64;

/// The engines of all processes, also of those that have ended: their functions are named later.
pub(super) struct Engines {
    /// Mean bytes between two samples.
    interval: u64,
    /// Nanoseconds below which the kernel side makes that more; 0: never.
    least_apart: u64,
    /// None where the user does not want them.
    source_maps: Option<SourceMaps>,
    known: HashMap<ProcessId, Engine>,
}

struct Engine {
    /// What the kernel side was told.
    told: v8::Layout,
    /// What the books were told.
    said: event::Engine,
    /// Bits of `can` that the kernel side gave up, of which the books were told.
    given_up: u32,
    /// None where names cannot be read.
    reader: Option<Reader>,
}

impl Engines {
    /// `interval` is what the user wants, if anything.
    pub(super) fn new(interval: Option<u64>, source_maps: bool) -> Self {
        let least_apart = if interval.is_some() { 0 } else { LEAST_APART };
        let source_maps = source_maps.then(SourceMaps::default);
        Self { interval: interval.unwrap_or(INTERVAL), least_apart, source_maps, known: HashMap::new() }
    }

    /// Looks for an engine among the mappings of a process and tells the kernel side of it. Returns what the books
    /// have to know, once.
    pub(super) fn update(
        &mut self,
        kernel: &Kernel,
        process: ProcessId,
        pid: u32,
        mappings: &[Mapping],
        probes: &Probes,
    ) -> Result<Option<event::Engine>, LoadError> {
        let Some((id, v8)) = mappings.iter().find_map(|mapping| in_mapping(mapping, probes)) else {
            return Ok(None);
        };
        let Some(mut layout) = self.layout(id, v8, pid, mappings, probes) else { return Ok(None) };
        distort::apply(&mut layout);
        match self.known.get_mut(&process) {
            Some(engine) if engine.told == layout => return Ok(None),
            Some(engine) => {
                kernel.describe_v8(process, &layout)?;
                engine.told = layout;
                if let Some(reader) = &mut engine.reader {
                    reader.set_builtins(&layout);
                }
                return Ok(None);
            }
            None => {}
        }
        kernel.describe_v8(process, &layout)?;
        let files = self.source_maps.as_mut().and_then(|maps| maps.process(pid));
        let reader = Reader::new(pid, v8, &layout, files);
        let said = event::Engine {
            process,
            version: v8.version.to_string(),
            interval: self.interval,
            unseen: v8.lacks.iter().map(|lack| format!("{}: {}", lack.capability, lack.reason)).collect(),
            followed: is_followed(layout.can),
        };
        self.known.insert(process, Engine { told: layout, said: said.clone(), given_up: 0, reader });
        Ok(Some(said))
    }

    /// What the books have to know of processes whose V8 is not as its binary says: what was found since the last call.
    pub(super) fn check(&mut self, kernel: &Kernel) -> Vec<event::Engine> {
        let check = |(process, engine): (&ProcessId, &mut Engine)| {
            let given_up = kernel.v8_state(*process)?.given_up;
            if given_up == engine.given_up {
                return None;
            }
            let news = given_up & !engine.given_up;
            let lacks = capability::not_as_derived(news);
            let lacks = lacks.map(|lack| format!("{}: {}", lack.capability, lack.reason));
            engine.said.unseen.extend(lacks);
            engine.said.followed = is_followed(engine.told.can & !given_up);
            engine.given_up = given_up;
            Some(engine.said.clone())
        };
        self.known.iter_mut().filter_map(check).collect()
    }

    pub(super) fn knows(&self, process: ProcessId) -> bool {
        self.known.contains_key(&process)
    }

    /// Processes whose names nobody asks for any more.
    pub(super) fn forget(&mut self, gone: &HashSet<ProcessId>) {
        self.known.retain(|process, _| !gone.contains(process));
    }

    /// What could not be read of functions and scripts, by cause.
    pub(super) fn losses(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for reader in self.known.values().filter_map(|engine| engine.reader.as_ref()) {
            for (reason, count) in reader.losses() {
                *all.entry(reason.to_string()).or_default() += count;
            }
        }
        all.extend(self.source_maps.iter().flat_map(SourceMaps::losses));
        all
    }

    /// Takes in what the kernel side said. A function is read at once: the next collection may move it.
    pub(super) fn hear(&mut self, event: &Event) {
        let (Event::Function(event::Function { process, .. }) | Event::Stack(event::Stack { process, .. })) =
            event
        else {
            return;
        };
        let Some(reader) = self.known.get_mut(process).and_then(|engine| engine.reader.as_mut()) else {
            return;
        };
        match event {
            Event::Function(event::Function { key, seen, .. }) => reader.learn(*key, *seen),
            Event::Stack(event::Stack { words, .. }) => reader.name_stack(*process, words),
            _ => {}
        }
    }

    /// Tries again what had moved before it was read.
    pub(super) fn retry(&mut self, kernel: &Kernel) {
        for (process, engine) in &mut self.known {
            if let Some(reader) = &mut engine.reader {
                reader.retry(*process, kernel);
            }
        }
    }

    /// Names those of `places` that are JavaScript.
    pub(super) fn name(&mut self, places: &[Place], names: &mut Names) {
        for place in places {
            let Place::JavaScript { process, .. } = place else { continue };
            if matches!(names.get(*place), Named::Known(_)) {
                continue;
            }
            let reader = self.known.get_mut(process).and_then(|engine| engine.reader.as_mut());
            if let Some(found) = reader.and_then(|reader| reader.name(*place, &mut self.source_maps)) {
                names.insert(*place, Named::Known(found));
            }
        }
    }

    /// Names the type of a sampled object.
    pub(super) fn name_type(&mut self, process: ProcessId, of: TypeOf) -> Option<String> {
        // 0 is the type of some strings, but here it says that nobody has looked.
        if of.instance_type == 0 {
            return None;
        }
        let reader = self.known.get_mut(&process)?.reader.as_mut()?;
        Some(reader.type_name(of, &mut self.source_maps))
    }

    fn layout(
        &self,
        id: BinaryId,
        v8: &V8,
        pid: u32,
        mappings: &[Mapping],
        probes: &Probes,
    ) -> Option<v8::Layout> {
        let Some(builtins) = probes.builtins(id) else {
            // No frames can be read then. What else there is needs no place of the binary.
            let allocator_area = v8.allocator_area.unwrap_or_default();
            let Self { interval, least_apart, .. } = *self;
            return Some(v8::Layout { interval, least_apart, allocator_area, ..v8.kernel_layout(0) });
        };
        let mut places = mappings.iter().filter_map(|mapping| start_in(mapping, id, builtins.start));
        // Where the loader put them comes first: the copy is made later, and beside the heap.
        let start = places.next()?;
        let mut layout = v8.kernel_layout(start.wrapping_sub(v8.builtins.as_ref()?.start.0));
        let length = builtins.end.0 - builtins.start.0;
        let copy = places.next().or_else(|| {
            let memory = Memory::open(pid).ok()?;
            let mut signature = [0; SIGNATURE];
            memory.read(start, &mut signature).then(|| find_copy(&memory, mappings, &signature))?
        });
        layout.builtins_copy = copy.map_or([0, 0], |copy| [copy, copy + length]);
        layout.interval = self.interval;
        layout.least_apart = self.least_apart;
        layout.allocator_area = v8.allocator_area.unwrap_or_default();
        Some(layout)
    }
}

fn in_mapping<'a>(mapping: &Mapping, probes: &'a Probes) -> Option<(BinaryId, &'a V8)> {
    let Backing::Binary(id) = mapping.backing else { return None };
    Some((id, probes.v8(id)?))
}

/// Where in memory the file's byte at `wanted` is, if this mapping has it.
fn start_in(mapping: &Mapping, id: BinaryId, wanted: FileOffset) -> Option<u64> {
    let into = wanted.0.checked_sub(mapping.offset.0)?;
    let is_within = mapping.backing == Backing::Binary(id) && into < mapping.end - mapping.start;
    is_within.then_some(mapping.start + into)
}

/// V8 copies its builtins to where calls from compiled code reach them, if there is no better way
/// (<https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/heap/code-range.cc>, `RemapEmbeddedBuiltins`).
fn find_copy(memory: &Memory, mappings: &[Mapping], signature: &[u8]) -> Option<u64> {
    let candidates = mappings.iter().filter(|mapping| {
        mapping.backing == Backing::Anonymous && mapping.end - mapping.start >= SMALLEST_COPY
    });
    let mut start = vec![0; SEARCHED];
    candidates
        .filter_map(|mapping| {
            memory.read(mapping.start, &mut start).then_some(())?;
            Some(mapping.start + memchr::memmem::find(&start, signature)? as u64)
        })
        .next()
}

fn is_followed(can: u32) -> bool {
    can & v8::can::FOLLOW == v8::can::FOLLOW
}

/// File offsets of the builtins' code.
pub(super) type BuiltinsInFile = Range<FileOffset>;
