//! Heap memory per stack, as the last snapshot of the kernel side's tables has it.
//!
//! Blocks whose stack is unknown share one entry of counters among all processes. Where several processes have
//! such blocks, the entry goes to the first of them, so that sums stay right; the blocks are always right.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use leaktrace_common::{
    process::ProcessId,
    stack::{AGE_BUCKETS, StackEntry, StackId, ThreadName},
    v8::Sample,
};

use super::{Discrepancy, Live, LiveBlock, Totals};

#[derive(Debug, Default)]
pub(super) struct Heap {
    /// By process: some hundred processes run another program in a second, and nothing is to walk all stacks for that.
    processes: HashMap<ProcessId, HashMap<StackId, Numbers>>,
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
    pub(super) fn listed(&self) -> Cow<'_, [LiveBlock]> {
        if self.samples.is_empty() {
            return self.blocks[..].into();
        }
        self.samples.iter().map(block).collect()
    }

    fn forget(&mut self) {
        self.blocks.clear();
        self.samples.clear();
    }
}

const fn block(sample: &Sample) -> LiveBlock {
    LiveBlock { size: sample.weight, born: sample.born, address: 0 }
}

impl Heap {
    fn all(&self) -> impl Iterator<Item = (ProcessId, StackId, &Numbers)> {
        self.processes
            .iter()
            .flat_map(|(process, stacks)| stacks.iter().map(|(stack, numbers)| (*process, *stack, numbers)))
    }

    /// How many stacks there are.
    pub(super) fn len(&self) -> usize {
        self.processes.values().map(HashMap::len).sum()
    }

    fn numbers(&mut self, process: ProcessId, stack: StackId) -> &mut Numbers {
        self.processes.entry(process).or_default().entry(stack).or_default()
    }

    /// Stacks that allocated.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProcessId, StackId, &Numbers)> {
        self.all().filter(|(.., numbers)| numbers.totals != Totals::default() || !numbers.blocks.is_empty())
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = (ProcessId, &Sample)> {
        self.all()
            .flat_map(|(process, _, numbers)| numbers.samples.iter().map(move |sample| (process, sample)))
    }

    pub(super) fn forget_blocks(&mut self, process: ProcessId) {
        self.processes.get_mut(&process).into_iter().flat_map(HashMap::values_mut).for_each(Numbers::forget);
    }

    /// The blocks of all processes but these.
    pub(super) fn forget_blocks_but_of(&mut self, settled: &BTreeSet<ProcessId>) {
        let forgotten = self.processes.iter_mut().filter(|(process, _)| !settled.contains(process));
        forgotten.flat_map(|(_, stacks)| stacks.values_mut()).for_each(Numbers::forget);
    }

    /// Forgets the stacks of a process; their sums.
    pub(super) fn retire(&mut self, process: ProcessId) -> Totals {
        let mut sum = Totals::default();
        let stacks = self.processes.remove(&process).unwrap_or_default();
        stacks
            .values()
            .filter(|numbers| numbers.samples.is_empty())
            .for_each(|numbers| sum += numbers.totals);
        sum
    }

    pub(super) fn count(&mut self, process: ProcessId, stack: StackId, entry: &StackEntry) {
        let numbers = self.numbers(process, stack);
        numbers.totals = totals(entry);
        numbers.deaths = entry.deaths;
        numbers.thread = entry.thread();
    }

    /// Of the threads that have the stack.
    pub(super) fn thread(&self, process: ProcessId, stack: StackId) -> Option<ThreadName> {
        self.processes.get(&process)?.get(&stack)?.thread
    }

    pub(super) fn list(&mut self, process: ProcessId, stack: StackId, block: LiveBlock) {
        self.numbers(process, stack).blocks.push(block);
    }

    pub(super) fn sample(&mut self, sample: Sample, at: u64) {
        let numbers = self.numbers(ProcessId(sample.process), StackId(sample.stack));
        numbers.blocks.push(block(&sample));
        numbers.samples.push(Sample { weight: sample.weight_at(at), ..sample });
    }

    /// Takes the counters of all blocks without a stack, after the blocks; `or_else` has them if no process
    /// holds such a block any longer.
    pub(super) fn count_unknown(&mut self, entry: &StackEntry, or_else: Option<ProcessId>) {
        let all = self.processes.iter_mut();
        let mut holders: Vec<(ProcessId, &mut Numbers)> = all
            .filter_map(|(process, stacks)| Some((*process, stacks.get_mut(&StackId::UNKNOWN)?)))
            .collect();
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
                self.numbers(process, StackId::UNKNOWN).totals = rest;
            }
            (None, None) => {}
        }
    }

    pub(super) fn discrepancies(&self) -> impl Iterator<Item = Discrepancy> {
        self.all().filter_map(|(process, stack, numbers)| {
            let (counted, listed) = (numbers.totals.live(), numbers.blocks.iter().copied().collect());
            (counted != listed).then_some(Discrepancy { process, stack, counted, listed })
        })
    }
}

fn totals(entry: &StackEntry) -> Totals {
    let StackEntry { allocs, alloc_bytes, frees, freed_bytes, .. } = *entry;
    Totals { allocs, alloc_bytes, frees, freed_bytes }
}
