//! A small world whose reports are built as [`Report::new`] builds them, with everything in them that a report can have.

mod verdicts;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use leaktrace_common::{counter::Counter, stack::StackId};
use verdicts::verdict;

use crate::{
    report::{
        CollectionTotals, Cost, Counters, Coverage, Cycle, Estimate, Frame, Generation, Growing, JavaScript,
        Process, Proof, Report, SizeRange, Stack, Totals, Type, VERSION, Watch,
    },
    verdict::{HeapDiff, HeapGrowth, HeapMoment, HeapSize, Point, size_class, stack_name},
};

pub(super) const S: u64 = 1_000_000_000;

/// The same numbers each time (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

/// Where calls go from one place of the tree of calls: to four functions. There are any number of such places in a
/// function, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    Any,
    Few,
}

#[derive(Clone)]
struct Site {
    frames: Vec<u32>,
    /// Born and size, the oldest first.
    blocks: Vec<(u64, u64)>,
    totals: Totals,
    stopped: &'static str,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: u64,
    sites: BTreeMap<(u32, u64, u8), Site>,
    keys: Vec<(u32, u64, u8)>,
    frames: Vec<Frame>,
    processes: Vec<(Process, Option<u64>)>,
    cycles: VecDeque<Cycle>,
    cycles_left_out: u64,
    mark: Option<HeapMoment>,
    verdicts: u64,
}

const KINDS: [&str; 3] = ["heap", "mapping", "javascript"];
/// Collections that are kept one by one.
const KEPT: usize = 8;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed),
            now: 0,
            sites: BTreeMap::new(),
            keys: Vec::new(),
            frames: Vec::new(),
            processes: Vec::new(),
            cycles: VecDeque::new(),
            cycles_left_out: 0,
            mark: None,
            verdicts: 0,
        };
        world.process(true);
        world
    }

    fn process(&mut self, engine: bool) {
        let number = self.processes.len() as u32 + 1;
        let javascript = JavaScript {
            engine: "V8 11.3.244.8".into(),
            sample_interval: 512 << 10,
            samples: 40,
            refills_seen: 0.125,
            unseen: vec!["code of WebAssembly".into()],
            followed: true,
            sampled_bytes: 1 << 30,
            live: Estimate { bytes: 5, error_bytes: 1, samples: 1 },
            types: vec![Type { name: "Session".into(), live: Estimate::default() }],
            minor: CollectionTotals::default(),
            major: CollectionTotals { count: 3, p50_ns: 5, ..CollectionTotals::default() },
            collections: Vec::new(),
            collections_left_out: 0,
        };
        self.processes.push((
            Process {
                process: number,
                pid: 1000 + number,
                comm: "server".into(),
                command: format!("server --worker {number}"),
                state: "running".into(),
                javascript: engine.then_some(javascript),
            },
            None,
        ));
    }

    /// Frames of so many functions; the program has no others.
    pub(super) fn functions(&mut self, number: u32) {
        for at in 0..number {
            let (file, line) = (format!("/src/server/module{}/file{}.c", at % 97, at % 1009), at % 3000 + 1);
            self.frames.push(Frame {
                address: format!("{:#x}", 0x5555_5555_0000_u64 + u64::from(at) * 48),
                function: Some(format!("server::module{}::function_{at}", at % 97)),
                module: Some("/usr/bin/server".into()),
                offset: Some(format!("{:#x}", u64::from(at) * 48)),
                file: Some(file),
                line: Some(line),
                ..Frame::default()
            });
        }
    }

    /// A stack of so many frames.
    pub(super) fn stack(&mut self, depth: usize) {
        let kind = if self.random.one_in(8) { self.random.below(3) as u8 } else { 0 };
        self.stack_of(depth, kind, Calls::Any);
    }

    pub(super) fn stack_of(&mut self, depth: usize, kind: u8, calls: Calls) {
        let process = self.random.below(self.processes.len() as u64) as u32 + 1;
        let functions = self.frames.len() as u64;
        let mut at = self.random.below(4);
        let mut frames: Vec<u32> = Vec::with_capacity(depth);
        for _ in 0..depth {
            frames.push((at % functions) as u32);
            if calls == Calls::Few {
                at %= functions;
            }
            at = at.wrapping_mul(2_654_435_761).wrapping_add(self.random.below(4));
        }
        frames.reverse();
        let key = (process, self.random.next(), kind);
        let stopped = if self.random.one_in(30) { "no unwind information" } else { "outermost frame" };
        let site = Site { frames, blocks: Vec::new(), totals: Totals::default(), stopped };
        self.sites.insert(key, site);
        self.keys.push(key);
    }

    /// An allocation or a free, of any stack.
    pub(super) fn event(&mut self, ns: u64) {
        self.now += ns;
        let key = self.keys[self.random.below(self.keys.len() as u64) as usize];
        let is_free = self.random.one_in(2);
        let Some(site) = self.sites.get_mut(&key) else { return };
        if is_free && !site.blocks.is_empty() {
            let at = self.random.below(site.blocks.len() as u64) as usize;
            let (_, size) = site.blocks.remove(at);
            site.totals.frees += 1;
            site.totals.freed_bytes += size;
        } else {
            let size = 16 + self.random.below(64) * 8;
            site.blocks.push((self.now, size));
            site.totals.allocs += 1;
            site.totals.alloc_bytes += size;
        }
    }

    /// Something that is seldom.
    pub(super) fn turn(&mut self) {
        match self.random.below(10) {
            0 => self.process(false),
            1 => {
                let at = self.random.below(self.processes.len() as u64) as usize;
                self.processes[at].0.state = "exited".into();
                self.processes[at].1.get_or_insert(self.now);
            }
            // One stack turned out to be another.
            2 if self.keys.len() > 1 => {
                let at = self.random.below(self.keys.len() as u64) as usize;
                self.sites.remove(&self.keys.swap_remove(at));
            }
            3 if !self.frames.is_empty() => {
                let at = self.random.below(self.frames.len() as u64) as usize;
                let name = self.random.below(4);
                self.frames[at].function = (name > 0).then(|| format!("named{name}"));
                self.frames[at].unknown = (name == 0).then(|| "no symbols".into());
            }
            // Twins: nothing tells them apart.
            4 if !self.frames.is_empty() => {
                let at = self.random.below(self.frames.len() as u64) as usize;
                self.frames[at] = self.frames[0].clone();
            }
            5 => self.mark = Some(self.moment()),
            6 => self.verdicts = self.random.below(4),
            7 | 8 => (0..self.random.below(12)).for_each(|_| self.collect()),
            _ => self.stack(3),
        }
    }

    fn collect(&mut self) {
        if self.cycles.len() == KEPT {
            self.cycles.pop_front();
            self.cycles_left_out += 1;
        }
        self.cycles.push_back(Cycle {
            at_ns: self.now,
            pause_ns: self.random.below(1 << 20),
            collector: "mark-compact".into(),
            reason: "allocation limit".into(),
            heap: "0x10000".into(),
            tid: 7,
            before: Some(self.random.next()),
            after: None,
            samples: 9,
            samples_died: 1,
        });
    }

    fn moment(&self) -> HeapMoment {
        let mut moment = HeapMoment::new(self.now);
        for ((_, stack, _), site) in &self.sites {
            for (_, size) in &site.blocks {
                let live = crate::ledger::Live { blocks: 1, bytes: *size };
                moment.add(StackId(*stack), &size_class(*size), live);
            }
        }
        moment
    }

    pub(super) fn report(&self) -> Report {
        let ended: BTreeMap<u32, u64> =
            self.processes.iter().filter_map(|(process, ended)| Some((process.process, (*ended)?))).collect();
        let mut frames: Vec<Frame> = Vec::new();
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        let mut stacks: Vec<Stack> = Vec::with_capacity(self.sites.len());
        for ((process, stack, kind), site) in &self.sites {
            let place = |frame: &u32| {
                *places.entry(*frame).or_insert_with(|| {
                    frames.push(self.frames[*frame as usize].clone());
                    frames.len() - 1
                })
            };
            let now = ended.get(process).copied().unwrap_or(self.now);
            stacks.push(stack_of(
                site,
                (*process, *stack, *kind),
                now,
                site.frames.iter().map(place).collect(),
            ));
        }
        stacks.sort_by_key(|stack| Reverse((stack.totals.live_bytes, stack.totals.alloc_bytes)));
        let mut totals = Totals::default();
        for (at, stack) in stacks.iter_mut().enumerate() {
            stack.rank = at + 1;
            totals.live_bytes += stack.totals.live_bytes;
        }
        let start = HeapMoment::new(0);
        let (from, before) = self.mark.as_ref().map_or((Point::Start, &start), |mark| (Point::Mark, mark));
        let mut processes: Vec<Process> = self.processes.iter().map(|(process, _)| process.clone()).collect();
        if let Some(javascript) = &mut processes[0].javascript {
            javascript.collections = self.cycles.iter().cloned().collect();
            javascript.collections_left_out = self.cycles_left_out;
        }
        Report {
            schema: "leaktrace-report",
            version: VERSION,
            leaktrace: "0.1.0".into(),
            traced_ns: self.now,
            older_than_ns: 0,
            watch: Some(Watch {
                looks: 9,
                left_out: 0,
                from: None,
                to: None,
                bytes: 1,
                chunks: 2,
                shown_by: 8,
                over_ns: S,
            }),
            cost: Some(Cost {
                budget: Some(0.05),
                share: 0.1 + 0.2,
                spent_ns: 14,
                own_ns: 47,
                hits: 7,
                hit_ns: 2,
                pauses: 0,
                watched: 1.0,
                over_budget: None,
            }),
            processes,
            verdicts: (0..self.verdicts).map(|at| verdict(at, self.now)).collect(),
            judged: self.verdicts > 0,
            growing: vec![Growing { pid: 1001, process: 1, growth: growth() }],
            proofs: vec![Proof::new(1001, 1, 3)],
            diff: Some(HeapDiff::between((from, before), (Point::End, &self.moment()))),
            totals,
            frames,
            stacks,
            coverage: coverage(self.now),
        }
    }
}

fn stack_of(site: &Site, key: (u32, u64, u8), now: u64, frames: Vec<usize>) -> Stack {
    let (process, stack, kind) = key;
    let is_javascript = kind == 2;
    let age = |at: usize| site.blocks.get(at).map(|(born, _)| now.saturating_sub(*born));
    let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, size) in &site.blocks {
        *sizes.entry(size.ilog2().into()).or_default() += 1;
    }
    let range = |(power, count): (u64, u64)| SizeRange { from: 1 << power, to: (2 << power) - 1, count };
    let live_blocks = site.blocks.len() as u64;
    let live_bytes = site.blocks.iter().map(|(_, size)| size).sum();
    let live = Estimate { bytes: live_bytes, error_bytes: 3, samples: live_blocks };
    Stack {
        rank: 0,
        stack: stack_name(StackId(stack)),
        pid: 1000 + process,
        process,
        kind: KINDS[usize::from(kind)].into(),
        owner: (stack % 5 == 0).then_some("V8's heap pages".into()),
        thread: (stack % 3 != 0).then(|| format!("worker-{}", stack % 4)),
        function: (site.stopped != "stack unknown").then(|| "malloc".into()),
        totals: Totals { live_bytes, live_blocks, ..site.totals },
        oldest_age_ns: age(0),
        median_age_ns: age(site.blocks.len() / 2),
        sizes: sizes.into_iter().map(range).collect(),
        error_bytes: is_javascript.then_some(live_bytes / 7),
        types: if is_javascript {
            vec![Type { name: format!("Type{}", stack % 3), live }]
        } else {
            Vec::new()
        },
        generations: if is_javascript { vec![Generation { from: 2, to: 3, live }] } else { Vec::new() },
        complete: site.stopped == "outermost frame",
        stopped: site.stopped.into(),
        frames,
    }
}

fn growth() -> HeapGrowth {
    let size = HeapSize { at_ns: 1, bytes: 2 };
    HeapGrowth {
        start: size,
        end: size,
        growth: 5,
        collections: 5,
        reason: "heap growth over 5 consecutive GCs".into(),
    }
}

fn coverage(seen: u64) -> Coverage {
    Coverage {
        events_seen: seen,
        allocs: 1,
        frees: 2,
        lost: 3,
        counters: Counters(Counter::ALL.iter().map(|counter| (*counter, *counter as u64)).collect()),
        undecodable_records: 0,
        stacks: 4,
        stacks_incomplete: 1,
        stack_bytes_incomplete: 100,
        stack_bytes_unknown: 10,
        addresses: 9,
        addresses_unknown: 1,
        ended_processes: 0,
        unread_processes: 0,
        exec_dropped_blocks: 0,
        exec_dropped_bytes: 0,
        unmapped_unknown_bytes: 0,
        javascript_unread: BTreeMap::from([("no such script".to_owned(), 2)]),
        discrepancies: 0,
    }
}
