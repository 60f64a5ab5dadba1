//! The books: what each stack of each process allocated and freed, and which of it is live.
//!
//! The heap is kept by the kernel side, so the ledger takes it over with each [`Snapshot`]: counters and live
//! blocks of every stack. Mappings come as events and are kept here ([`Regions`]).
//!
//! A process that exited keeps what was live at its end. After an exec everything of the old program is dropped
//! and counted, as the kernel threw it away.

mod apply;
mod bounds;
mod collections;
mod heap;
mod process;
mod regions;
mod sites;
mod stacks;
mod totals;
mod windows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use leaktrace_common::{
    counter::{COUNTERS, Counter},
    process::ProcessId,
    stack::StackId,
    v8::Sample,
};

use crate::{
    attribute::{Attribution, BinaryId, Place},
    event::{Engine, Mapping, Snapshot},
};

use bounds::Bounds;
pub use collections::{Collections, Pauses};
use heap::Heap;
pub use process::{Process, State};
pub use regions::Regions;
pub use sites::{Kind, Site};
use stacks::Stacks;
pub use stacks::Taken;
pub use totals::{Discrepancy, Live, LiveBlock, Totals};
use windows::Windows;
pub use windows::Work;

/// The function that a hook's number means.
#[derive(Debug)]
struct Hook {
    function: String,
    javascript: bool,
}

/// What was read and not read, beside the kernel side's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// mmap, munmap and mremap calls.
    pub region_events: u64,
    /// exec, fork and exit.
    pub process_events: u64,
    /// Records that this agent could not read.
    pub undecodable: u64,
    /// Bytes unmapped that were never seen mapped.
    pub unmapped_unknown: u64,
    /// What processes held when they ran another program.
    pub dropped_by_exec: Live,
}

/// What nobody will ask about any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub processes: HashSet<ProcessId>,
    pub binaries: HashSet<BinaryId>,
}

/// Of processes that were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    pub processes: u64,
    /// Their native memory.
    pub totals: Totals,
    /// When the first of them began to be traced.
    since: Option<u64>,
}

#[derive(Debug)]
pub struct Ledger {
    page: u64,
    attribution: Attribution,
    processes: BTreeMap<ProcessId, Process>,
    stacks: HashMap<ProcessId, Stacks>,
    heap: Heap,
    /// Processes with stacks whose addresses were in no mapping known when they came.
    unattributed: BTreeSet<ProcessId>,
    /// Every place that a name can be asked for.
    places: BTreeSet<Place>,
    binaries: HashMap<BinaryId, String>,
    hooks: HashMap<u16, Hook>,
    engines: BTreeMap<ProcessId, Engine>,
    collections: BTreeMap<ProcessId, Collections>,
    heard: Heard,
    retired: Retired,
    windows: Windows,
    bounds: Bounds,
    counters: [u64; COUNTERS],
    at: u64,
}

impl Ledger {
    /// `page` is the size in bytes of the machine's pages, a power of two.
    #[must_use]
    pub fn new(page: u64) -> Self {
        Self {
            page,
            attribution: Attribution::default(),
            processes: BTreeMap::new(),
            stacks: HashMap::new(),
            heap: Heap::default(),
            unattributed: BTreeSet::new(),
            places: BTreeSet::new(),
            binaries: HashMap::new(),
            hooks: HashMap::new(),
            engines: BTreeMap::new(),
            collections: BTreeMap::new(),
            heard: Heard::default(),
            retired: Retired::default(),
            windows: Windows::default(),
            bounds: Bounds::default(),
            counters: [0; COUNTERS],
            at: 0,
        }
    }

    /// Takes over the kernel side's tables.
    pub fn snapshot(&mut self, snapshot: Snapshot) {
        let Snapshot { at, stacks, blocks, samples, counters } = snapshot;
        self.at = at;
        self.counters = counters;
        let settled: BTreeSet<ProcessId> = self.settled().collect();
        self.heap.forget_blocks_but_of(&settled);
        let mut unknown = None;
        for (id, entry) in stacks {
            let process = ProcessId(entry.process);
            if id == StackId::UNKNOWN {
                unknown = Some(entry);
            } else if !settled.contains(&process) {
                self.process(process, 0);
                self.heap.count(process, id, &entry);
            }
        }
        for (key, block) in blocks.into_iter().filter(|(key, _)| !settled.contains(&key.process)) {
            let live = LiveBlock { size: block.size, born: block.born, address: key.address };
            if self.is_replaced(key.process) {
                self.heard.dropped_by_exec.add(live);
            } else {
                self.process(key.process, 0);
                self.heap.list(key.process, block.stack(), live);
            }
        }
        for sample in samples.into_iter().filter(|sample| !settled.contains(&ProcessId(sample.process))) {
            let process = ProcessId(sample.process);
            // What an exec took with it, and what nobody would know to be dead, is live to no one's knowledge.
            if !self.is_replaced(process) && self.is_followed(process) {
                self.heap.sample(sample, at);
            }
        }
        if let Some(entry) = unknown {
            self.heap.count_unknown(&entry, self.processes.keys().next().copied());
        }
        for process in self.processes.values_mut() {
            process.settled |= process.state.ended().is_some_and(|end| end <= at);
        }
        if !self.bounds.is_empty() {
            let weight = |block: &LiveBlock| self.windows.weight(block.born);
            self.bounds.weigh(self.heap.iter().flat_map(|(process, _, numbers)| {
                numbers.blocks.iter().map(move |block| (process, block, weight(block)))
            }));
        }
    }

    /// Processes with stacks that the last list of mappings could not place: the agent should send their
    /// [`Mappings`], after which they are not named again for those stacks.
    pub fn unattributed(&self) -> impl Iterator<Item = ProcessId> {
        self.unattributed.iter().copied()
    }

    /// Processes that ended and whose blocks and stacks the kernel side need not keep any longer.
    pub fn settled(&self) -> impl Iterator<Item = ProcessId> {
        self.processes.values().filter(|process| process.settled).map(|process| process.id)
    }

    /// Forgets these processes, but for their sums: their books are closed, and nobody asks about their stacks.
    pub fn retire(&mut self, gone: &HashSet<ProcessId>) {
        self.retired.processes += gone.len() as u64;
        for process in gone {
            if let Some(process) = self.processes.remove(process) {
                self.heard.unmapped_unknown += process.regions.unknown_bytes();
                self.retired.since = self.retired.since.into_iter().chain(process.since).min();
            }
            self.retired.totals += self.heap.retire(*process);
            self.stacks.remove(process);
            self.attribution.forget(*process);
            self.unattributed.remove(process);
            self.engines.remove(process);
            self.collections.remove(process);
            self.bounds.forget(*process);
        }
        self.places.retain(|place| place.process().is_none_or(|process| !gone.contains(&process)));
    }

    /// Forgets files that no process has mapped and no stack is in, but for these. Which they were.
    pub fn forget_binaries_but(&mut self, held: &HashSet<BinaryId>) -> HashSet<BinaryId> {
        if self.binaries.keys().all(|id| held.contains(id)) {
            return HashSet::new();
        }
        let in_stacks = self.stacks.values().flat_map(Stacks::binaries);
        let used: HashSet<BinaryId> = self.attribution.binaries().chain(in_stacks).collect();
        let gone = self.binaries.extract_if(|id, _| !held.contains(id) && !used.contains(id));
        let gone: HashSet<BinaryId> = gone.map(|(id, _)| id).collect();
        if gone.is_empty() {
            return gone;
        }
        self.places.retain(|place| place.binary().is_none_or(|id| !gone.contains(&id)));
        gone
    }

    /// What processes did that were forgotten.
    #[must_use]
    pub const fn retired(&self) -> Retired {
        self.retired
    }

    /// The executable mappings of a process, sorted and without overlaps.
    #[must_use]
    pub fn mappings(&self, process: ProcessId) -> &[Mapping] {
        self.attribution.mappings(process)
    }

    /// A stack, once it has come.
    #[must_use]
    pub fn taken(&self, process: ProcessId, stack: StackId) -> Option<Taken<'_>> {
        self.stacks.get(&process)?.get(stack)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Stacks whose counters and blocks disagree. What an exec ended and what is not followed has no blocks to compare.
    pub fn discrepancies(&self) -> impl Iterator<Item = Discrepancy> {
        self.heap.discrepancies().filter(|told| {
            let is_unfollowed =
                self.is_javascript(told.process, told.stack) && !self.is_followed(told.process);
            !self.is_replaced(told.process) && !is_unfollowed
        })
    }

    /// Forgets places that no stack is in any more. Takes a look at all stacks.
    pub fn forget_places(&mut self) {
        self.places =
            self.stacks.values().flat_map(Stacks::places).filter(|place| place.can_be_named()).collect();
    }

    /// Every distinct place that a name can be asked for; since [`Self::forget_places`] in stacks that are gone, too.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.places.iter().copied().collect()
    }

    /// Samples of JavaScript heaps.
    pub fn samples(&self) -> impl Iterator<Item = (ProcessId, &Sample)> {
        self.heap.samples()
    }

    /// Of all processes and kinds, since tracing began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.heap.iter().for_each(|(_, _, numbers)| sum += numbers.totals);
        sum
    }

    /// The file that the traced process knows by this path.
    #[must_use]
    pub fn binary(&self, id: BinaryId) -> Option<&str> {
        self.binaries.get(&id).map(String::as_str)
    }

    /// The allocator's function that a hook sits on.
    #[must_use]
    pub fn hook(&self, number: u16) -> Option<&str> {
        self.hooks.get(&number).map(|hook| hook.function.as_str())
    }

    /// The JavaScript engine in a process.
    #[must_use]
    pub fn engine(&self, process: ProcessId) -> Option<&Engine> {
        self.engines.get(&process)
    }

    /// Whether the samples of the process's JavaScript heaps are known to be dead when their objects are.
    #[must_use]
    pub fn is_followed(&self, process: ProcessId) -> bool {
        self.engines.get(&process).is_none_or(|engine| engine.followed)
    }

    /// Every JavaScript engine.
    pub fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.engines.values()
    }

    /// The garbage collections of a process; none if there were none.
    #[must_use]
    pub fn collections(&self, process: ProcessId) -> Option<&Collections> {
        self.collections.get(&process)
    }

    fn is_javascript(&self, process: ProcessId, stack: StackId) -> bool {
        let hook = self.taken(process, stack).and_then(|taken| self.hooks.get(&taken.hook));
        hook.is_some_and(|hook| hook.javascript)
    }

    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    #[must_use]
    pub fn heard(&self) -> Heard {
        let unmapped = self.processes.values().map(|process| process.regions.unknown_bytes()).sum::<u64>();
        Heard { unmapped_unknown: self.heard.unmapped_unknown + unmapped, ..self.heard }
    }

    /// The moment of the last snapshot, in nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// How many blocks of native memory this one of a process stands for: 1, unless nobody watched for a time after its
    /// birth. Of a size that the allocator was asked about, all together for no more than are in use, and no less than they grew by.
    #[must_use]
    pub fn weight(&self, process: ProcessId, block: &LiveBlock) -> f64 {
        self.bounds.bounded(process, block, self.windows.weight(block.born))
    }

    /// Whether a block of native memory has been watched all its life, so that its end would be known.
    #[must_use]
    pub fn is_heard(&self, block: &LiveBlock) -> bool {
        self.windows.heard_since().is_some_and(|since| block.born >= since)
    }

    /// Part of the time since tracing began in which native memory was watched.
    #[must_use]
    pub fn time_watched(&self) -> f64 {
        self.windows.time_watched(self.at.saturating_sub(self.traced_ns()), self.at)
    }

    /// The processes' work between these times, in nanoseconds of `CLOCK_MONOTONIC`; none where native memory was always
    /// watched.
    #[must_use]
    pub fn work(&self, from: u64, to: u64) -> Option<Work> {
        self.windows.work_of(from, to)
    }

    /// Nanoseconds from the first process's start of tracing to the last snapshot.
    #[must_use]
    pub fn traced_ns(&self) -> u64 {
        let since = self.processes.values().filter_map(|process| process.since).min();
        // The first one may be forgotten.
        let since = since.into_iter().chain(self.retired.since).min();
        since.map_or(0, |since| self.at.saturating_sub(since))
    }

    fn is_replaced(&self, process: ProcessId) -> bool {
        self.processes.get(&process).is_some_and(|process| matches!(process.state, State::Replaced { .. }))
    }

    /// The process, made if need be; a pid of 0 is not known yet.
    fn process(&mut self, id: ProcessId, pid: u32) -> &mut Process {
        let process = self.processes.entry(id).or_insert_with(|| Process::new(id, pid, self.page));
        if pid != 0 {
            process.pid = pid;
        }
        process
    }
}

#[cfg(test)]
mod tests;
