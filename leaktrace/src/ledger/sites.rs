//! What each stack has: the ledger's main answer.

use std::{borrow::Cow, collections::HashMap};

use leaktrace_common::{
    process::ProcessId,
    stack::{AGE_BUCKETS, StackId, ThreadName},
    v8::Sample,
};

use super::{Ledger, LiveBlock, Process, Taken, Totals};

/// The memory that a site is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Heap,
    Mapping,
    /// V8's heap, by samples: bytes are an estimate, and a block is a sample.
    JavaScript,
}

impl Kind {
    /// As reports have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Mapping => "mapping",
            Self::JavaScript => "javascript",
        }
    }
}

/// One stack of one process, with its memory.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    pub process: &'a Process,
    pub stack: StackId,
    pub kind: Kind,
    /// None where the stack is unknown or still on its way.
    pub taken: Option<Taken<'a>>,
    pub totals: Totals,
    pub blocks: Cow<'a, [LiveBlock]>,
    /// JavaScript's: what lives of them.
    pub samples: Vec<&'a Sample>,
    /// Blocks by age at death, see [`leaktrace_common::stack::age_bucket`]; none of mappings.
    pub deaths: [u32; AGE_BUCKETS],
    /// Of the threads that have the stack, where they all have one name.
    pub thread: Option<ThreadName>,
}

impl Ledger {
    /// Every stack that allocated, in no order. Those that are one once finished are one here, under the least id.
    #[must_use]
    pub fn sites(&self) -> Vec<Site<'_>> {
        let mut sites = Vec::with_capacity(self.heap.len());
        for (process, stack, numbers) in self.heap.iter() {
            if let Some(process) = self.processes.get(&process) {
                let kind = if self.is_javascript(process.id, stack) { Kind::JavaScript } else { Kind::Heap };
                let blocks = numbers.listed();
                let mut site = self.site(process, stack, kind, numbers.totals, blocks);
                site.samples = numbers.samples.iter().collect();
                site.deaths = numbers.deaths;
                sites.push(site);
            }
        }
        for process in self.processes.values() {
            let mut live: HashMap<StackId, Vec<LiveBlock>> = HashMap::new();
            for (stack, block) in process.regions.live() {
                live.entry(stack).or_default().push(block);
            }
            for (stack, totals) in process.regions.totals() {
                let blocks = live.remove(&stack).unwrap_or_default().into();
                sites.push(self.site(process, stack, Kind::Mapping, totals, blocks));
            }
        }
        merge(&mut sites);
        sites
    }

    fn site<'a>(
        &'a self,
        process: &'a Process,
        stack: StackId,
        kind: Kind,
        totals: Totals,
        blocks: Cow<'a, [LiveBlock]>,
    ) -> Site<'a> {
        let taken = self.taken(process.id, stack);
        let (samples, deaths) = (Vec::new(), [0; AGE_BUCKETS]);
        let thread = self.heap.thread(process.id, stack);
        Site { process, stack, kind, taken, totals, blocks, samples, deaths, thread }
    }
}

/// The kernel side has several ids for a stack that it could not walk to its end.
fn merge(sites: &mut Vec<Site<'_>>) {
    let mut found: HashMap<(ProcessId, Kind, Taken<'_>), usize> = HashMap::new();
    // Those before this place are what there is; in place, as there may be a hundred thousand.
    let mut end = 0;
    for at in 0..sites.len() {
        let key = sites[at].taken.map(|taken| (sites[at].process.id, sites[at].kind, taken));
        let place = key.map_or(end, |key| *found.entry(key).or_insert(end));
        if place == end {
            sites.swap(end, at);
            end += 1;
            continue;
        }
        let (before, rest) = sites.split_at_mut(at);
        let (same, site) = (&mut before[place], &mut rest[0]);
        same.stack = same.stack.min(site.stack);
        same.thread = same.thread.filter(|thread| site.thread == Some(*thread));
        same.totals += site.totals;
        same.blocks.to_mut().extend(site.blocks.iter());
        same.samples.append(&mut site.samples);
        same.deaths.iter_mut().zip(site.deaths).for_each(|(sum, deaths)| {
            *sum = sum.saturating_add(deaths);
        });
    }
    sites.truncate(end);
}
