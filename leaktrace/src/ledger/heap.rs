//! Heap memory per stack, as the last snapshot of the kernel side's tables has it.
//!
//! Blocks whose stack is unknown share one entry of counters among all processes. Where several processes have
//! such blocks, the entry goes to the first of them, so that sums stay right; the blocks are always right.

use std::collections::HashMap;

use leaktrace_common::{
    process::ProcessId,
    stack::{AGE_BUCKETS, StackEntry, StackId, ThreadName},
    v8::Sample,
};

use super::{Discrepancy, Live, LiveBlock, Totals};

#[derive(Debug, Default)]
pub(super) struct Heap {
    stacks: HashMap<(ProcessId, StackId), Numbers>,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) totals: Totals,
    pub(super) blocks: Vec<LiveBlock>,
    /// Where the blocks are samples of a JavaScript heap.
    pub(super) samples: Vec<Sample>,
    pub(super) deaths: [u32; AGE_BUCKETS],
    /// See [`StackEntry::thread`].
    pub(super) thread: Option<ThreadName>,
}

impl Numbers {
    /// The blocks; samples as what they stand for now.
    pub(super) fn listed(&self) -> Vec<LiveBlock> {
        if self.samples.is_empty() {
            return self.blocks.clone();
        }
        self.samples.iter().map(block).collect()
    }
}

const fn block(sample: &Sample) -> LiveBlock {
    LiveBlock { size: sample.weight, born: sample.born, address: 0 }
}

impl Heap {
    /// Stacks that allocated.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProcessId, StackId, &Numbers)> {
        self.stacks
            .iter()
            .filter(|(_, numbers)| numbers.totals != Totals::default() || !numbers.blocks.is_empty())
            .map(|((process, stack), numbers)| (*process, *stack, numbers))
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = (ProcessId, &Sample)> {
        let of = |((process, _), numbers): (&(ProcessId, StackId), _)| (*process, numbers);
        self.stacks.iter().map(of).flat_map(|(process, numbers): (_, &Numbers)| {
            numbers.samples.iter().map(move |sample| (process, sample))
        })
    }

    pub(super) fn forget_blocks(&mut self, of: impl Fn(ProcessId) -> bool) {
        for (_, numbers) in self.stacks.iter_mut().filter(|((process, _), _)| of(*process)) {
            numbers.blocks.clear();
            numbers.samples.clear();
        }
    }

    /// Forgets the stacks of some processes; their sums.
    pub(super) fn retire(&mut self, of: impl Fn(ProcessId) -> bool) -> Totals {
        let mut sum = Totals::default();
        self.stacks.retain(|(process, _), numbers| {
            let goes = of(*process);
            if goes && numbers.samples.is_empty() {
                sum += numbers.totals;
            }
            !goes
        });
        sum
    }

    pub(super) fn count(&mut self, process: ProcessId, stack: StackId, entry: &StackEntry) {
        let numbers = self.stacks.entry((process, stack)).or_default();
        numbers.totals = totals(entry);
        numbers.deaths = entry.deaths;
        numbers.thread = entry.thread();
    }

    /// Of the threads that have the stack.
    pub(super) fn thread(&self, process: ProcessId, stack: StackId) -> Option<ThreadName> {
        self.stacks.get(&(process, stack))?.thread
    }

    pub(super) fn list(&mut self, process: ProcessId, stack: StackId, block: LiveBlock) {
        self.stacks.entry((process, stack)).or_default().blocks.push(block);
    }

    pub(super) fn sample(&mut self, sample: Sample, at: u64) {
        let numbers = self.stacks.entry((ProcessId(sample.process), StackId(sample.stack))).or_default();
        numbers.blocks.push(block(&sample));
        numbers.samples.push(Sample { weight: sample.weight_at(at), ..sample });
    }

    /// Takes the counters of all blocks without a stack, after the blocks; `or_else` has them if no process
    /// holds such a block any longer.
    pub(super) fn count_unknown(&mut self, entry: &StackEntry, or_else: Option<ProcessId>) {
        let holders = self.stacks.iter_mut().filter(|((_, stack), _)| *stack == StackId::UNKNOWN);
        let mut holders: Vec<(ProcessId, &mut Numbers)> =
            holders.map(|((process, _), numbers)| (*process, numbers)).collect();
        holders.sort_unstable_by_key(|(process, _)| *process);
        let mut rest = totals(entry);
        for (_, numbers) in holders.iter_mut().skip(1) {
            let live: Live = numbers.blocks.iter().copied().collect();
            numbers.totals = Totals { allocs: live.blocks, alloc_bytes: live.bytes, ..Totals::default() };
            rest.allocs = rest.allocs.saturating_sub(live.blocks);
            rest.alloc_bytes = rest.alloc_bytes.saturating_sub(live.bytes);
        }
        match (holders.first_mut(), or_else) {
            (Some((_, first)), _) => first.totals = rest,
            (None, Some(process)) => {
                self.stacks.entry((process, StackId::UNKNOWN)).or_default().totals = rest;
            }
            (None, None) => {}
        }
    }

    pub(super) fn discrepancies(&self) -> impl Iterator<Item = Discrepancy> {
        self.stacks.iter().filter_map(|((process, stack), numbers)| {
            let (counted, listed) = (numbers.totals.live(), numbers.blocks.iter().copied().collect());
            (counted != listed).then_some(Discrepancy { process: *process, stack: *stack, counted, listed })
        })
    }
}

fn totals(entry: &StackEntry) -> Totals {
    let StackEntry { allocs, alloc_bytes, frees, freed_bytes, .. } = *entry;
    Totals { allocs, alloc_bytes, frees, freed_bytes }
}
