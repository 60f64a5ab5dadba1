//! From the books and the names to a [`Report`].

use std::{cmp::Reverse, collections::BTreeSet};

use leaktrace_common::counter::{Counter, Kind as CounterKind};

use super::{Counters, Coverage, Frame, Process, Report, Stack, Totals, VERSION, sizes};
use crate::{
    attribute::{self, Place},
    ledger::{Heard, Kind, Ledger, Live, Site},
    symbolize::{Name, Named, Names},
};

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Live blocks younger than this, in nanoseconds, are left out.
    pub older_than_ns: u64,
}

impl Report {
    /// Of the ledger's last snapshot.
    #[must_use]
    pub fn new(ledger: &Ledger, names: &Names, options: Options) -> Self {
        let sites = ledger.sites();
        let mut stacks: Vec<((u32, u64), Stack)> = sites
            .iter()
            .map(|site| ((site.process.id.0, site.stack.0), stack(ledger, names, options, site)))
            .collect();
        stacks.sort_by_cached_key(|(key, stack)| {
            (Reverse((stack.totals.live_bytes, stack.totals.alloc_bytes)), *key, stack.kind)
        });
        let mut stacks: Vec<Stack> = stacks.into_iter().map(|(_, stack)| stack).collect();
        for (at, stack) in stacks.iter_mut().enumerate() {
            stack.rank = at + 1;
        }
        let mut totals = Totals::default();
        for stack in &stacks {
            totals.add(stack.totals);
        }
        Self {
            schema: "leaktrace-report",
            version: VERSION,
            leaktrace: env!("CARGO_PKG_VERSION"),
            traced_ns: ledger.traced_ns(),
            older_than_ns: options.older_than_ns,
            processes: ledger.processes().map(process).collect(),
            coverage: coverage(ledger, names, &sites, &stacks),
            totals,
            stacks,
        }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        let Self { live_bytes, live_blocks, allocs, alloc_bytes, frees, freed_bytes } = other;
        self.live_bytes += live_bytes;
        self.live_blocks += live_blocks;
        self.allocs += allocs;
        self.alloc_bytes += alloc_bytes;
        self.frees += frees;
        self.freed_bytes += freed_bytes;
    }
}

fn process(process: &crate::ledger::Process) -> Process {
    Process {
        process: process.id.0,
        pid: process.pid,
        comm: process.comm.clone(),
        command: process.command.clone(),
        state: process.state.describe(),
    }
}

fn stack(ledger: &Ledger, names: &Names, options: Options, site: &Site<'_>) -> Stack {
    // An exited process does not grow older.
    let now = site.process.state.ended().unwrap_or(ledger.at());
    let age = |born: u64| now.saturating_sub(born);
    let mut blocks = site.blocks.clone();
    blocks.retain(|block| age(block.born) >= options.older_than_ns);
    blocks.sort_unstable_by_key(|block| block.born);
    let live: Live = blocks.iter().copied().collect();
    let totals = Totals {
        live_bytes: live.bytes,
        live_blocks: live.blocks,
        allocs: site.totals.allocs,
        alloc_bytes: site.totals.alloc_bytes,
        frees: site.totals.frees,
        freed_bytes: site.totals.freed_bytes,
    };
    Stack {
        rank: 0,
        pid: site.process.pid,
        process: site.process.id.0,
        kind: match site.kind {
            Kind::Heap => "heap",
            Kind::Mapping => "mapping",
        },
        function: site.taken.and_then(|taken| ledger.hook(taken.hook)).map(str::to_owned),
        totals,
        oldest_age_ns: blocks.first().map(|block| age(block.born)),
        median_age_ns: blocks.get(blocks.len() / 2).map(|block| age(block.born)),
        sizes: sizes::ranges(blocks.iter().map(|block| block.size)),
        complete: site.taken.is_some_and(|taken| taken.stop.is_complete()),
        stopped: site.taken.map_or("stack unknown", |taken| taken.stop.describe()),
        frames: site.taken.map_or_else(Vec::new, |taken| {
            taken.frames.iter().flat_map(|frame| frames(ledger, names, *frame)).collect()
        }),
    }
}

fn frames(ledger: &Ledger, names: &Names, frame: attribute::Frame) -> Vec<Frame> {
    let (module, offset) = match frame.place {
        Place::Binary { binary, offset } => (ledger.binary(binary).map(str::to_owned), Some(offset)),
        Place::Vdso { offset } => (Some("[vdso]".to_owned()), Some(offset)),
        Place::Jit { .. } | Place::Unknown(_) => (None, None),
    };
    let bare = Frame {
        address: format!("{:#x}", frame.address),
        function: None,
        module,
        offset: offset.map(|offset| format!("{:#x}", offset.0)),
        file: None,
        line: None,
        column: None,
        inlined: false,
        unknown: None,
    };
    match (frame.place, names.get(frame.place)) {
        (Place::Unknown(reason), _) => vec![Frame { unknown: Some(reason.describe()), ..bare }],
        (_, Named::Unknown(reason)) => vec![Frame { unknown: Some(reason.describe()), ..bare }],
        (_, Named::Known(found)) => found.iter().map(|name| named(&bare, name)).collect(),
    }
}

fn named(bare: &Frame, name: &Name) -> Frame {
    let Name { function, file, line, column, inlined } = name;
    Frame {
        function: Some(function.clone()),
        file: file.clone(),
        line: *line,
        column: *column,
        inlined: *inlined,
        ..bare.clone()
    }
}

fn coverage(ledger: &Ledger, names: &Names, sites: &[Site<'_>], stacks: &[Stack]) -> Coverage {
    let Heard { region_events, process_events, undecodable, unmapped_unknown, dropped_by_exec } =
        ledger.heard();
    let counters: Vec<(Counter, u64)> =
        Counter::ALL.iter().map(|counter| (*counter, ledger.counter(*counter))).collect();
    let lost = counters.iter().filter(|(counter, _)| counter.kind() == CounterKind::Lost);
    let lost: u64 = lost.map(|(_, count)| count).sum();
    let heap = || stacks.iter().filter(|stack| stack.kind == "heap");
    let (allocs, frees) = (
        heap().map(|stack| stack.totals.allocs).sum::<u64>(),
        heap().map(|stack| stack.totals.frees).sum::<u64>(),
    );
    let incomplete = || stacks.iter().filter(|stack| !stack.complete);
    let unknown = stacks.iter().filter(|stack| stack.frames.is_empty());
    // Where there is no place, the address itself is what is not known.
    let distinct = |frame: &attribute::Frame| match frame.place {
        Place::Unknown(_) => (frame.place, frame.address),
        _ => (frame.place, 0),
    };
    let taken = sites.iter().filter_map(|site| site.taken);
    let places: BTreeSet<(Place, u64)> = taken.flat_map(|taken| taken.frames.iter().map(distinct)).collect();
    let is_unnamed = |(place, _): &&(Place, u64)| matches!(names.get(*place), Named::Unknown(_));
    Coverage {
        events_seen: allocs + frees + region_events + process_events,
        allocs,
        frees,
        lost: lost + undecodable,
        counters: Counters(counters),
        undecodable_records: undecodable,
        stacks: stacks.len() as u64,
        stacks_incomplete: incomplete().count() as u64,
        stack_bytes_incomplete: incomplete().map(|stack| stack.totals.live_bytes).sum(),
        stack_bytes_unknown: unknown.map(|stack| stack.totals.live_bytes).sum(),
        addresses: places.len() as u64,
        addresses_unknown: places.iter().filter(is_unnamed).count() as u64,
        exec_dropped_blocks: dropped_by_exec.blocks,
        exec_dropped_bytes: dropped_by_exec.bytes,
        unmapped_unknown_bytes: unmapped_unknown,
        discrepancies: ledger.discrepancies().count() as u64,
    }
}
