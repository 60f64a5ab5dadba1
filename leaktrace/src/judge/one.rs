//! One heap of one process, and what its engine is told.

use std::collections::{BTreeMap, HashMap};

use leaktrace_common::{
    stack::{AGE_BUCKETS, StackId},
    v8::Sample,
};

use super::{Options, frames::Frames, pending::Pending, seeing::Seeing};
use crate::{
    attribute::Frame,
    ledger::{Ledger, LiveBlock, Site, Totals, Work},
    symbolize::Names,
    verdict::{
        Block, Consecutive, Engine, Epoch, FrameId, HeapGrowth, Judgement, Moment, NodeId, Seen,
        Suppressions, Unreachable, Verified, Watched,
    },
};

/// Epochs until which a stack's work can be taken back: names come within seconds, and of some stacks nothing is ever known.
const UNDECIDED: usize = 64;

#[derive(Debug)]
pub(super) struct One {
    pub(super) engine: Engine,
    pub(super) judgements: Vec<Judgement>,
    /// Its process has ended and this was judged: nothing changes any more.
    pub(super) ended: bool,
    /// Allocations before this epoch, of JavaScript samples: each stands for as much.
    allocs: u64,
    /// The same, of each stack that is not known to be a runtime's own: its names come late, and nothing that it did before
    /// may count as done then.
    worked: HashMap<StackId, u64>,
    /// Stacks that are known to be a runtime's own, or not to be: their names are many.
    of_v8: HashMap<StackId, bool>,
    /// What the others did, by epochs' ends.
    undecided: HashMap<StackId, Vec<(Moment, f64)>>,
    /// Its own allocations for each of what it did at all, in the last windows.
    per_work: f64,
    seeing: Seeing,
    pub(super) growing: Consecutive,
    pub(super) growth: Option<HeapGrowth>,
    /// Whole collections of the heap that were heard of, and whether there were some since the last epoch.
    pub(super) majors: u64,
    pub(super) is_due: bool,
    pub(super) pending: Pending,
    /// Stacks that read alike count as the first of them: a function that was interpreted first and compiled later
    /// allocates by as many stacks, of which each by itself only begins or ends.
    first_of: HashMap<StackId, StackId>,
    by_path: HashMap<Vec<FrameId>, StackId>,
    /// The first pattern of `--suppress` that each of these fits, by the first of those that read alike; none where one
    /// of them fits none.
    suppressed: HashMap<StackId, Option<String>>,
    /// What the allocator's state said of each verdict when it was looked at last.
    pub(super) verified: HashMap<NodeId, Verified>,
}

/// The end of an epoch, as far as the books tell it.
pub(super) struct End {
    /// On the heap's clock.
    pub(super) end: Moment,
    pub(super) wall_ns: u64,
    /// Allocations since tracing began.
    pub(super) allocs: u64,
    /// What its process did in the epoch, where it was watched in windows only.
    pub(super) worked: Option<Work>,
    /// Of that, some is a runtime's own: what is told of is the program's.
    pub(super) has_runtime: bool,
    pub(super) seeing: Seeing,
}

/// A stack of this heap, and its live blocks.
pub(super) struct Told<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) blocks: Vec<Block>,
    pub(super) unreachable: Unreachable,
}

/// What stacks that read alike hold together.
#[derive(Debug, Default)]
struct Sum {
    path: Vec<FrameId>,
    totals: Totals,
    deaths: [u64; AGE_BUCKETS],
    blocks: Vec<Block>,
    unreachable: Unreachable,
}

/// What is looked up for stacks that are new.
pub(super) struct LookUp<'a> {
    pub(super) frames: &'a mut Frames,
    pub(super) names: &'a Names,
    pub(super) ledger: &'a Ledger,
    pub(super) suppressions: &'a Suppressions,
}

struct First {
    stack: StackId,
    path: Vec<FrameId>,
}

impl One {
    pub(super) fn new(engine: Engine, options: &Options) -> Self {
        let (needed, tolerance) = options.consecutive;
        Self {
            engine,
            judgements: Vec::new(),
            ended: false,
            allocs: 0,
            worked: HashMap::new(),
            of_v8: HashMap::new(),
            undecided: HashMap::new(),
            per_work: 0.0,
            seeing: Seeing::default(),
            growing: Consecutive::new(needed, tolerance),
            growth: None,
            majors: 0,
            is_due: false,
            pending: Pending::default(),
            first_of: HashMap::new(),
            by_path: HashMap::new(),
            suppressed: HashMap::new(),
            verified: HashMap::new(),
        }
    }

    /// Ends the epochs of all but the last of the collections that are looked at together: samples know between which of
    /// them they were born and died, however long nobody looked. `allocs` is what there was by the last one.
    pub(super) fn catch_up(&mut self, pending: &Pending, majors: u64, allocs: u64) {
        let all = allocs.saturating_sub(self.allocs);
        for part in pending.all_but_the_last(majors) {
            // It ended before the last look, which did not know of it yet.
            if self
                .engine
                .last()
                .is_some_and(|last| last >= part.end || self.engine.last_ns() >= part.ended_ns)
            {
                continue;
            }
            let work = (all as f64 * part.share) as u64;
            self.allocs += work;
            // What was lost is known of all of them together, and counted in the last one.
            let (work, wall_ns) = (work as f64, part.ended_ns);
            let _ = self.engine.end(Epoch { end: part.end, wall_ns, work, lost: 0, events: 0 });
        }
    }

    pub(super) fn end<'a>(
        &mut self,
        end: &End,
        mut look_up: LookUp<'_>,
        stacks: impl Iterator<Item = Told<'a>>,
    ) {
        let End { end, wall_ns, allocs, worked, has_runtime, seeing } = *end;
        let mut sums: BTreeMap<StackId, Sum> = BTreeMap::new();
        let before = std::mem::replace(&mut self.allocs, allocs);
        let mut work = if has_runtime { 0.0 } else { allocs.saturating_sub(before) as f64 };
        for Told { site, blocks, unreachable } in stacks {
            if has_runtime {
                let before = self.worked.insert(site.stack, site.totals.allocs).unwrap_or_default();
                let allocs = site.totals.allocs.saturating_sub(before);
                work += allocs as f64;
                if allocs > 0 && !self.of_v8.contains_key(&site.stack) {
                    let told = self.undecided.entry(site.stack).or_default();
                    if told.len() < UNDECIDED {
                        told.push((end, allocs as f64 * worked.map_or(1.0, stands_for)));
                    }
                }
            }
            let Some(first) = self.first_of(site, &mut look_up) else { continue };
            let sum = sums.entry(first.stack).or_default();
            if !first.path.is_empty() {
                sum.path = first.path;
            }
            sum.totals += site.totals;
            sum.deaths.iter_mut().zip(site.deaths).for_each(|(sum, deaths)| *sum += u64::from(deaths));
            sum.blocks.extend(blocks);
            sum.unreachable += unreachable;
        }
        let work = worked.map_or(work, |worked| self.whole(worked, work));
        let epoch = Epoch {
            end,
            wall_ns,
            work,
            lost: seeing.lost.saturating_sub(self.seeing.lost),
            events: seeing.events.saturating_sub(self.seeing.events),
        };
        self.seeing = seeing;
        let mut ending = self.engine.end(epoch);
        for (stack, Sum { path, totals, deaths, blocks, unreachable }) in sums {
            // It may be of before the last blocks were freed.
            let unreachable = if blocks.is_empty() { Unreachable::default() } else { unreachable };
            let watched = Watched::default();
            let seen = Seen { stack, frames: &path, totals, deaths: &deaths, unreachable, watched };
            ending.stack(&seen, blocks);
        }
        self.judgements = ending.judge();
    }

    /// An epoch's work by what was seen of it in its windows; by the last ones, where it has none.
    fn whole(&mut self, worked: Work, seen: f64) -> f64 {
        if worked.watched > 0.0 {
            self.per_work = seen / worked.watched;
        }
        self.per_work * worked.all
    }

    /// Whether a stack is V8's own work, as far as is known.
    pub(super) fn is_of_v8(&mut self, ledger: &Ledger, names: &Names, site: &Site<'_>) -> bool {
        if let Some(known) = self.of_v8.get(&site.stack) {
            return *known;
        }
        let found = super::is_of_v8(ledger, names, site);
        // A stack that ends early may be finished later.
        let is_whole = site.taken.is_some_and(|taken| taken.stop.is_complete());
        if let Some(known) = found.filter(|known| *known || is_whole) {
            self.of_v8.insert(site.stack, known);
            let told = self.undecided.remove(&site.stack).into_iter().flatten();
            told.filter(|_| known).for_each(|(end, allocs)| self.engine.take_back(end, allocs));
        }
        found == Some(true)
    }

    /// The stack that this one counts as; itself as long as it was not told of.
    pub(super) fn counts_as(&self, stack: StackId) -> StackId {
        self.first_of.get(&stack).copied().unwrap_or(stack)
    }

    /// The stack that this one counts as, with its frames where the engine has to be told them.
    fn first_of(&mut self, site: &Site<'_>, look_up: &mut LookUp<'_>) -> Option<First> {
        if let Some(stack) = self.first_of.get(&site.stack) {
            return Some(First { stack: *stack, path: Vec::new() });
        }
        let LookUp { frames, names, ledger, suppressions } = look_up;
        let taken = site.taken?;
        let has_javascript = taken.frames().any(|frame| frame.place.is_javascript());
        // Patterns are held to every frame, those too that a path leaves out; and what is V8's own is told by names alone.
        let needs_all =
            !suppressions.is_empty() || !has_javascript && ledger.engine(site.process.id).is_some();
        let waits = |frame: &Frame| {
            let is_needed = needs_all && frame.place.can_be_named() || frame.place.is_javascript();
            is_needed && !names.contains(frame.place)
        };
        if taken.frames().any(waits) {
            return None;
        }
        let path = frames.path(taken.frames(), names);
        let stack = *self.by_path.entry(path.clone()).or_insert(site.stack);
        self.first_of.insert(site.stack, stack);
        let pattern = suppressions.find(super::frames::all_named(taken.frames(), names, ledger));
        let pattern = pattern.map(|pattern| pattern.text.clone());
        self.suppressed
            .entry(stack)
            .and_modify(|all| *all = all.take().filter(|_| pattern.is_some()))
            .or_insert(pattern);
        Some(First { stack, path })
    }

    /// Those that its engine was told of.
    pub(super) fn frames(&self) -> impl Iterator<Item = FrameId> {
        self.by_path.keys().flatten().copied()
    }

    /// The pattern of `--suppress` that a verdict fits: every stack that it is about has to fit one.
    pub(super) fn suppressed(&self, judgement: &Judgement) -> Option<&str> {
        let mut patterns = judgement.members.iter().map(|stack| self.suppressed.get(stack)?.as_deref());
        let first = patterns.next()??;
        patterns.all(|pattern| pattern.is_some()).then_some(first)
    }

    /// Every stack that a verdict is about, those that read alike included.
    pub(super) fn stacks(&self, judgement: &Judgement) -> Vec<StackId> {
        if judgement.members.is_empty() {
            return Vec::new();
        }
        let of = self.first_of.iter().filter(|(_, first)| judgement.members.contains(first));
        let mut stacks: Vec<StackId> = of.map(|(stack, _)| *stack).collect();
        stacks.sort_unstable();
        stacks
    }
}

/// `weight` is how many it stands for, which differs by the window that it was born in.
pub(super) fn native(block: &LiveBlock, weight: f64) -> Block {
    Block { born: Moment(block.born), bytes: block.size, weight, births: weight }
}

/// How much of an epoch an allocation that was seen in it stands for.
fn stands_for(worked: Work) -> f64 {
    if worked.watched > 0.0 { worked.all / worked.watched } else { 0.0 }
}

pub(super) fn sampled(sample: &Sample) -> Block {
    let size = u64::from(sample.size).max(1);
    let weight = sample.weight as f64 / size as f64;
    Block { born: Moment(sample.born_major.into()), bytes: size, weight, births: 1.0 }
}
