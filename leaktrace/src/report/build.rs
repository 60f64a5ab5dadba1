//! From the books and the names to a [`Report`].

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
};

use leaktrace_common::{
    counter::{Counter, Kind as CounterKind},
    stack::ThreadName,
};

use super::{
    Counters, Coverage, Estimate, Growing, JavaScript, Process, Report, Stack, Totals, VERSION, Verdict,
    frames::Frames, javascript, sizes,
};
use crate::{
    attribute::{self, Place},
    judge::Judges,
    ledger::{Heard, Kind, Ledger, Live, LiveBlock, Site, Taken},
    symbolize::{Named, Names},
    verdict::{HeapMoment, size_class, stack_name},
};

/// [`Stack::kind`].
pub(super) const JAVASCRIPT: &str = Kind::JavaScript.name();

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Live blocks younger than this, in nanoseconds, are left out.
    pub older_than_ns: u64,
    /// Whether stacks have their frames; else they have none, and [`Coverage`] has nothing of addresses.
    pub frames: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { older_than_ns: 0, frames: true }
    }
}

impl Report {
    /// Of the ledger's last snapshot.
    #[must_use]
    pub fn new(ledger: &Ledger, names: &Names, options: Options) -> Self {
        let mut sites = ledger.sites();
        // The same books make the same report, to the byte.
        sites.sort_unstable_by_key(|site| (site.process.id, site.stack, site.kind));
        let mut frames = Frames::new(ledger, names);
        let of_site = |site| stack(ledger, names, options, site, &mut frames);
        let mut stacks: Vec<Stack> = sites.iter().map(of_site).collect();
        rank(&mut stacks);
        let mut totals = Totals::default();
        for stack in stacks.iter().filter(|stack| !stack.is_javascript()) {
            totals.add(stack.totals);
        }
        Self {
            schema: "leaktrace-report",
            version: VERSION,
            leaktrace: env!("CARGO_PKG_VERSION").into(),
            traced_ns: ledger.traced_ns(),
            older_than_ns: options.older_than_ns,
            watch: None,
            cost: None,
            processes: ledger.processes().map(|process| described(ledger, names, &sites, process)).collect(),
            coverage: coverage(ledger, names, options.frames.then_some(&sites[..]), &stacks),
            verdicts: Vec::new(),
            judged: false,
            growing: Vec::new(),
            proofs: Vec::new(),
            diff: None,
            totals,
            frames: frames.all,
            stacks,
        }
    }

    /// The same with what was judged by then.
    #[must_use]
    pub fn with_verdicts(mut self, judges: &Judges, names: &Names, ledger: &Ledger) -> Self {
        self.verdicts = Verdict::all(judges, names, ledger);
        // What was several and turned out to be one stack is listed once.
        let listed: HashSet<&str> = self.stacks.iter().map(|stack| stack.stack.as_str()).collect();
        for verdict in &mut self.verdicts {
            verdict.members.retain(|member| listed.contains(member.as_str()));
        }
        self.judged = judges.has_judged();
        let pid_of =
            |id| ledger.processes().find(|process| process.id == id).map_or(0, |process| process.pid);
        let growing = judges.growing();
        self.growing = growing
            .map(|(process, growth)| Growing {
                pid: pid_of(process),
                process: process.0,
                growth: growth.clone(),
            })
            .collect();
        self
    }

    /// What is live now, by stack and by type or size class.
    #[must_use]
    pub fn moment(ledger: &Ledger, names: &Names) -> HeapMoment {
        let mut moment = HeapMoment::new(ledger.at());
        for site in ledger.sites() {
            if site.kind == Kind::JavaScript {
                for sample in &site.samples {
                    // As many objects as the sample stands for.
                    let blocks = (sample.weight / u64::from(sample.size).max(1)).max(1);
                    let live = Live { blocks, bytes: sample.weight };
                    moment.add(site.stack, names.type_of(site.process.id, sample), live);
                }
            } else {
                for block in site.blocks.iter() {
                    let class = size_class(block.size);
                    let what = if site.kind == Kind::Mapping { format!("mapping of {class}") } else { class };
                    let weight = weight(ledger, &site, block);
                    let live = Live { blocks: whole(weight), bytes: whole(block.size as f64 * weight) };
                    moment.add(site.stack, &what, live);
                }
            }
        }
        moment
    }
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        let Self { live_bytes, live_blocks, allocs, alloc_bytes, frees, freed_bytes } = other;
        self.live_bytes += live_bytes;
        self.live_blocks += live_blocks;
        self.allocs += allocs;
        self.alloc_bytes += alloc_bytes;
        self.frees += frees;
        self.freed_bytes += freed_bytes;
    }
}

/// Stacks in the order of reports: by live bytes, most first. Those that have as much stay as they were.
pub(crate) fn rank(stacks: &mut [Stack]) {
    stacks.sort_by_key(|stack| Reverse((stack.totals.live_bytes, stack.totals.alloc_bytes)));
    for (at, stack) in stacks.iter_mut().enumerate() {
        stack.rank = at + 1;
    }
}

fn described(
    ledger: &Ledger,
    names: &Names,
    sites: &[Site<'_>],
    process: &crate::ledger::Process,
) -> Process {
    Process {
        process: process.id.0,
        pid: process.pid,
        comm: process.comm.clone(),
        command: process.command.clone(),
        state: process.state.describe().into(),
        javascript: ledger.engine(process.id).map(|engine| JavaScript::of(ledger, names, sites, engine)),
    }
}

fn stack(ledger: &Ledger, names: &Names, options: Options, site: &Site<'_>, known: &mut Frames<'_>) -> Stack {
    // An exited process does not grow older.
    let now = site.process.state.ended().unwrap_or(ledger.at());
    let age = |born: u64| now.saturating_sub(born);
    let mut blocks = site.blocks.to_vec();
    blocks.retain(|block| age(block.born) >= options.older_than_ns);
    blocks.sort_unstable_by_key(|block| block.born);
    let is_javascript = site.kind == Kind::JavaScript;
    let samples = || site.samples.iter().copied().filter(|sample| age(sample.born) >= options.older_than_ns);
    let live = Weighed::of(blocks.iter().map(|block| (block.size, weight(ledger, site, block))));
    let totals = Totals {
        live_bytes: whole(live.bytes),
        live_blocks: whole(live.blocks),
        allocs: site.totals.allocs,
        alloc_bytes: site.totals.alloc_bytes,
        frees: site.totals.frees,
        freed_bytes: site.totals.freed_bytes,
    };
    let taken = site.taken.filter(|_| options.frames);
    let frames: Vec<usize> =
        taken.into_iter().flat_map(Taken::frames).flat_map(|frame| known.of(*frame)).collect();
    let has_engine = ledger.engine(site.process.id).is_some();
    Stack {
        rank: 0,
        stack: stack_name(site.stack),
        pid: site.process.pid,
        process: site.process.id.0,
        kind: site.kind.name().into(),
        function: site.taken.and_then(|taken| ledger.hook(taken.hook)).map(str::to_owned),
        thread: site.thread.map(thread_name),
        totals,
        oldest_age_ns: blocks.first().map(|block| age(block.born)),
        median_age_ns: blocks.get(blocks.len() / 2).map(|block| age(block.born)),
        sizes: if is_javascript {
            sizes::ranges(samples().map(|sample| u64::from(sample.size)))
        } else {
            sizes::ranges(blocks.iter().map(|block| block.size))
        },
        error_bytes: if is_javascript { Some(Estimate::of(samples()).error_bytes) } else { live.error() },
        types: javascript::types(names, site.process.id, samples()),
        generations: javascript::generations(samples()),
        complete: site.taken.is_some_and(|taken| taken.stop.is_complete()),
        stopped: site.taken.map_or("stack unknown", |taken| taken.stop.describe()).into(),
        owner: (has_engine && !is_javascript).then(|| known.owner(&frames)).flatten().map(Into::into),
        frames,
    }
}

fn thread_name(name: ThreadName) -> String {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// How many blocks one of this site stands for.
fn weight(ledger: &Ledger, site: &Site<'_>, block: &LiveBlock) -> f64 {
    if site.kind == Kind::Heap { ledger.weight(site.process.id, block) } else { 1.0 }
}

/// Blocks, each of which may stand for several.
#[derive(Clone, Copy, Debug, Default)]
struct Weighed {
    blocks: f64,
    bytes: f64,
    /// Of `bytes`.
    variance: f64,
    is_estimate: bool,
}

impl Weighed {
    fn of(blocks: impl Iterator<Item = (u64, f64)>) -> Self {
        let mut sum = Self::default();
        for (size, weight) in blocks {
            let bytes = size as f64 * weight;
            sum.blocks += weight;
            sum.bytes += bytes;
            // One that was seen by a chance of 1 in `weight`.
            sum.variance += bytes * bytes * (1.0 - 1.0 / weight);
            sum.is_estimate |= weight > 1.0;
        }
        sum
    }

    fn error(&self) -> Option<u64> {
        self.is_estimate.then(|| whole(javascript::OF_95_PERCENT * self.variance.sqrt()))
    }
}

fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// `sites` are none where stacks have no frames.
fn coverage(ledger: &Ledger, names: &Names, sites: Option<&[Site<'_>]>, stacks: &[Stack]) -> Coverage {
    let Heard { region_events, process_events, undecodable, unmapped_unknown, dropped_by_exec } =
        ledger.heard();
    let counters: Vec<(Counter, u64)> =
        Counter::ALL.iter().map(|counter| (*counter, ledger.counter(*counter))).collect();
    let lost = counters.iter().filter(|(counter, _)| counter.kind() == CounterKind::Lost);
    let lost: u64 = lost.map(|(_, count)| count).sum();
    let heap = || stacks.iter().filter(|stack| stack.kind == Kind::Heap.name());
    let (allocs, frees) = (
        heap().map(|stack| stack.totals.allocs).sum::<u64>(),
        heap().map(|stack| stack.totals.frees).sum::<u64>(),
    );
    let retired = ledger.retired();
    let (allocs, frees) = (allocs + retired.totals.allocs, frees + retired.totals.frees);
    let incomplete = || stacks.iter().filter(|stack| !stack.complete);
    let unknown = stacks.iter().filter(|stack| sites.is_some() && stack.frames.is_empty());
    // Where there is no place, the address itself is what is not known.
    let distinct = |frame: &attribute::Frame| match frame.place {
        Place::Unknown(_) => (frame.place, frame.address),
        _ => (frame.place, 0),
    };
    let taken = sites.into_iter().flatten().filter_map(|site| site.taken);
    let places: BTreeSet<(Place, u64)> = taken.flat_map(Taken::frames).map(distinct).collect();
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
        ended_processes: retired.processes,
        unread_processes: 0,
        exec_dropped_blocks: dropped_by_exec.blocks,
        exec_dropped_bytes: dropped_by_exec.bytes,
        unmapped_unknown_bytes: unmapped_unknown,
        javascript_unread: names.unread().clone(),
        discrepancies: ledger.discrepancies().count() as u64,
    }
}
