//! Scans of one process.

use std::{collections::HashMap, ops::Range, time::Instant};

use leaktrace_common::{
    stack::StackId,
    thread::{STACK_POINTER, ThreadRegisters},
};

use super::{
    BlockAt, ReachError, Scan, Settings, Unsure, blocks::Blocks, mark::Mark, pass::pass, streaks::Streaks,
};
use crate::{
    process::{Kept, Mapping, MappingKind, Mappings, Memory, Pages, first_thread_waits, threads},
    verdict::Unreachable,
};

/// Below the stack pointer, x86-64's functions may use this much without saying so.
const RED_ZONE: u64 = 128;

/// Lists the registers of the process's threads, anew at each call.
pub type Registers<'a> =
    dyn FnMut() -> Result<Vec<ThreadRegisters>, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Proves blocks of one process out of reach. Bound to the memory that the process had when this was made: after an
/// exec every scan fails.
#[derive(Debug)]
pub struct Prover {
    pid: u32,
    settings: Settings,
    memory: Memory,
    pages: Pages,
    streaks: Streaks,
    /// When the last scan that counts was.
    counted: Option<u64>,
}

impl Prover {
    /// # Errors
    /// No such process, or one that this user may not look into.
    pub fn new(pid: u32, settings: Settings) -> Result<Self, ReachError> {
        let (memory, pages) = (Memory::open(pid)?, Pages::open(pid, settings.page)?);
        Ok(Self { pid, settings, memory, pages, streaks: Streaks::default(), counted: None })
    }

    /// Searches the memory for what reaches `blocks`, all that live at `at` (nanoseconds of `CLOCK_MONOTONIC`). It takes
    /// as long as reading the memory four times. Blocks that come and go meanwhile do no harm.
    ///
    /// # Errors
    /// The process is gone or runs another program, or registers cannot be listed.
    pub fn scan(
        &mut self,
        at: u64,
        blocks: &[BlockAt],
        registers: &mut Registers<'_>,
    ) -> Result<Scan, ReachError> {
        let started = Instant::now();
        let mut listed = blocks.to_vec();
        // Of two at one address the later one lives.
        listed.sort_unstable_by_key(|block| (block.address, std::cmp::Reverse(block.born)));
        listed.dedup_by_key(|block| block.address);
        let mut scan = Scan { blocks: listed.len() as u64, refuted: self.keep(&listed), ..Scan::default() };

        let blocks = Blocks::new(&listed);
        let mut mark = Mark::new(&blocks);
        for (number, block) in listed.iter().enumerate() {
            if at.saturating_sub(block.born) < self.settings.youngest {
                mark.reach(number);
                scan.young += 1;
            }
        }
        let overlapping = blocks.overlapping();
        scan.overlapping = overlapping.len() as u64;
        overlapping.into_iter().for_each(|block| mark.reach(block));
        mark.again();

        scan.unsure = self.passes(&mut mark, &blocks, &mut scan, registers)?;
        let unreached: Vec<BlockAt> =
            (0..).zip(&listed).filter(|(n, _)| !mark.is_reached(*n)).map(|(_, b)| *b).collect();
        scan.unreached = unreached.len() as u64;
        scan.unreached_bytes = unreached.iter().map(|block| block.size).sum();
        let is_apart = self.counted.is_none_or(|before| at.saturating_sub(before) >= self.settings.apart);
        scan.counts = is_apart && scan.unsure.is_none();
        self.streaks.take(unreached.into_iter(), scan.counts);
        if scan.counts {
            self.counted = Some(at);
        }
        scan.nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(scan)
    }

    /// Blocks of a stack that were out of reach for as many scans as settings want, or, if none was, for fewer.
    #[must_use]
    pub fn unreachable(&self, stack: StackId) -> Unreachable {
        self.streaks.of(stack, self.settings.scans)
    }

    /// Stacks that have such blocks.
    #[must_use]
    pub fn stacks(&self) -> Vec<StackId> {
        self.streaks.stacks()
    }

    /// Drops what has been freed since the last scan: with a list from after it, no block is told as lost that was freed
    /// while it ran. Returns how many of those had been proven, and wrongly so.
    pub fn forget_freed(&mut self, live: &[BlockAt]) -> u64 {
        let mut live = live.to_vec();
        live.sort_unstable_by_key(|block| (block.address, std::cmp::Reverse(block.born)));
        live.dedup_by_key(|block| block.address);
        self.keep(&live)
    }

    fn keep(&mut self, live: &[BlockAt]) -> u64 {
        let at = |address: u64| {
            let found = live.binary_search_by_key(&address, |live| live.address);
            found.ok().map(|at| &live[at])
        };
        self.streaks.keep(at, self.settings.scans)
    }

    fn passes(
        &self,
        mark: &mut Mark<'_>,
        blocks: &Blocks,
        scan: &mut Scan,
        registers: &mut Registers<'_>,
    ) -> Result<Option<Unsure>, ReachError> {
        let mut dry = 0;
        loop {
            let lacks = self.one_pass(mark, blocks, scan, registers)?;
            let fresh = mark.again();
            scan.passes += 1;
            // No later pass changes these.
            if matches!(lacks, Some(Unsure::Swapped(_) | Unsure::Rings(_))) {
                return Ok(lacks);
            }
            dry = if fresh == 0 && lacks.is_none() { dry + 1 } else { 0 };
            if dry >= self.settings.dry || (0..blocks.len()).all(|block| mark.is_reached(block)) {
                return Ok(None);
            }
            if scan.passes >= self.settings.most_passes {
                return Ok(Some(lacks.unwrap_or(Unsure::Moving)));
            }
        }
    }

    fn one_pass(
        &self,
        mark: &mut Mark<'_>,
        blocks: &Blocks,
        scan: &mut Scan,
        registers: &mut Registers<'_>,
    ) -> Result<Option<Unsure>, ReachError> {
        let gone = |source| ReachError::Gone { pid: self.pid, source };
        let mappings = Mappings::read(self.pid)?;
        let resident = self.pages.resident(&mappings).map_err(gone)?;
        let kept = Kept::of(self.pid).map_err(gone)?;
        kept.words.iter().for_each(|word| mark.word(*word));
        let waited = first_thread_waits(self.pid);
        let mut known = self.threads(registers)?;
        // Else it may have gone deeper since its stack pointer was seen.
        let waits = waited && first_thread_waits(self.pid);
        known.values().flatten().for_each(|word| mark.word(*word));

        let unused = mappings.iter().find(|mapping| is_main_stack(mapping)).and_then(|stack| {
            let pointer = known.get(&self.pid)?[STACK_POINTER];
            (waits && stack.contains(pointer))
                .then(|| stack.start..(pointer - RED_ZONE).max(stack.start) / 8 * 8)
        });
        let mut roots = without(&resident.runs, unused);
        // In turns: a pointer that moves with the reading in one pass moves against it in the next.
        if scan.passes % 2 == 1 {
            roots.reverse();
        }
        let read = pass(mark, blocks, &self.memory, &resident.runs, roots.into_iter());
        scan.bytes += read.bytes;
        scan.absent_shared = resident.absent_shared;

        // Once more: what came from memory that was read late may be in registers now.
        let later = self.threads(registers)?;
        later.values().flatten().for_each(|word| mark.word(*word));
        known.extend(later);
        let unknown =
            threads(self.pid).map_err(gone)?.iter().filter(|thread| !known.contains_key(thread)).count();
        let rings = kept.rings + mappings.iter().filter(|mapping| is_aio(mapping)).count() as u64;
        let lacks = [
            (rings, Unsure::Rings(rings)),
            (resident.swapped, Unsure::Swapped(resident.swapped)),
            (read.vanished, Unsure::Vanished(read.vanished)),
            (unknown as u64, Unsure::Threads(unknown as u64)),
        ];
        Ok(lacks.into_iter().find(|(count, _)| *count > 0).map(|(_, why)| why))
    }

    fn threads(
        &self,
        list: &mut Registers<'_>,
    ) -> Result<HashMap<u32, [u64; leaktrace_common::thread::REGISTERS]>, ReachError> {
        let all = list().map_err(|source| ReachError::Registers { pid: self.pid, source })?;
        Ok(all
            .into_iter()
            .filter(|thread| thread.tgid == self.pid)
            .map(|thread| (thread.tid, thread.words))
            .collect())
    }
}

/// The main thread's. Others' are whole roots: a stack's mapping may hold more than one thread's stack.
fn is_main_stack(mapping: &Mapping) -> bool {
    matches!(&mapping.kind, MappingKind::Anonymous { name: Some(name) } if name == "stack")
}

/// Where kernel aio tells of what is done; what is under way is seen nowhere.
fn is_aio(mapping: &Mapping) -> bool {
    mapping.path().is_some_and(|path| path == std::path::Path::new("/[aio]"))
}

/// `runs` but for the part in `unused`.
fn without(runs: &[Range<u64>], unused: Option<Range<u64>>) -> Vec<Range<u64>> {
    let Some(unused) = unused else { return runs.to_vec() };
    let parts = runs.iter().flat_map(|run| {
        [run.start..run.end.min(unused.start.max(run.start)), run.start.max(unused.end.min(run.end))..run.end]
    });
    parts.filter(|part| part.start < part.end).collect()
}
