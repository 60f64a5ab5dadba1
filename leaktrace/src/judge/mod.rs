//! From the books to the verdicts: tells the engines of `verdict` what each stack holds at the end of each epoch.
//!
//! Native memory of a process has one engine, whose epochs are stretches of time; each of its JavaScript heaps has one,
//! whose epochs end with whole collections. Mappings are listed in reports and not judged: pieces of one die apart.
//! What has no stack is not judged either, and reports say how much that is.

mod frames;
mod isolates;
mod one;
mod pending;
mod seeing;
mod survivors;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use leaktrace_common::{process::ProcessId, stack::StackId};

pub use self::{
    frames::{Frames, Shown},
    survivors::Survivors,
};
use self::{
    isolates::Isolates,
    one::{End, LookUp, One, Told},
    seeing::Seeing,
};
use crate::{
    attribute::Place,
    event::Collection,
    ledger::{Gone, Kind, Ledger, Site, Taken, Totals},
    symbolize::Names,
    verdict::{
        Engine, HeapGrowth, HeapSize, Judgement, Moment, Settings, Suppressions, Unreachable, Verified,
    },
};

/// What the user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long an epoch of native memory is.
    pub epoch: Duration,
    /// Bytes per second that a leak must surely exceed.
    pub min_rate: f64,
    /// Consecutive growing collections of memwatch's rule, and by what part a heap may shrink in between.
    pub consecutive: (u32, f64),
    pub suppressions: Suppressions,
}

/// Which memory of a process is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heap {
    Native,
    /// `v8::internal::Heap` of an isolate.
    JavaScript(u64),
}

/// Everything that is judged.
#[derive(Debug)]
pub struct Judges {
    options: Options,
    heaps: BTreeMap<(ProcessId, Heap), One>,
    isolates: Isolates,
    frames: Frames,
    /// What the last search of each process's memory did not reach, by the stacks of [`Self::native`].
    unreachable: HashMap<ProcessId, HashMap<StackId, Unreachable>>,
}

/// What was said of one frame of one heap.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    pub process: ProcessId,
    pub heap: Heap,
    pub judgement: &'a Judgement,
    /// The stacks that it is about, as reports number them; of what was never suspected none.
    pub stacks: Vec<StackId>,
    /// The pattern of `--suppress` that fits.
    pub suppressed: Option<&'a str>,
}

impl Judges {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (heaps, isolates, frames) = (BTreeMap::new(), Isolates::default(), Frames::default());
        Self { options, heaps, isolates, frames, unreachable: HashMap::new() }
    }

    /// Ends an epoch of native memory in every process, at the ledger's last snapshot. A stack is told of once every
    /// frame has its name, or a reason for none. A process that has ended gets one last epoch, and what was said of it
    /// then stays: with nothing going on, time proves nothing.
    pub fn end_epoch(&mut self, ledger: &Ledger, names: &Names) {
        let mut by_process: HashMap<ProcessId, Vec<Site<'_>>> = HashMap::new();
        for site in ledger.sites() {
            if site.kind == Kind::Heap {
                by_process.entry(site.process.id).or_default().push(site);
            }
        }
        for process in ledger.processes() {
            let Some(since) = process.since else { continue };
            let sites = by_process.remove(&process.id).unwrap_or_default();
            let ended = process.state.ended().filter(|end| *end <= ledger.at());
            let key = (process.id, Heap::Native);
            if ended.is_some() && sites.is_empty() && !self.heaps.contains_key(&key) {
                continue;
            }
            let one = self.heaps.entry(key).or_insert_with(|| {
                let settings =
                    Settings { floor: self.options.min_rate, ..Settings::native(self.options.epoch) };
                One::new(Engine::new(settings, Moment(since), since), &self.options)
            });
            if one.ended {
                continue;
            }
            one.ended = ended.is_some();
            // V8's own work is work of the process: whose it is is known only once the names are.
            let totals = sum(&sites);
            let at = ended.unwrap_or(ledger.at()).max(one.engine.last().map_or(0, |last| last.0));
            let seeing = Seeing::of(ledger, Heap::Native, totals);
            let has_runtime = ledger.engine(process.id).is_some();
            let before = if one.engine.epochs() == 0 { since } else { one.engine.last_ns() };
            let worked = ledger.work(before, at);
            let allocs = totals.allocs;
            let end = End { end: Moment(at), wall_ns: at, allocs, worked, has_runtime, seeing };
            let own: Vec<&Site<'_>> =
                sites.iter().filter(|site| !one.is_of_v8(ledger, names, site)).collect();
            // Once for stacks that read alike.
            let mut found = self.unreachable.get(&process.id).cloned().unwrap_or_default();
            let tell = own.into_iter().map(|site| {
                let native = |block| one::native(block, ledger.weight(process.id, block));
                let blocks = site.blocks.iter().map(native).collect();
                let unreachable = found.remove(&one.counts_as(site.stack)).unwrap_or_default();
                Told { site, blocks, unreachable }
            });
            let tell: Vec<Told<'_>> = tell.collect();
            let suppressions = &self.options.suppressions;
            let look_up = LookUp { frames: &mut self.frames, names, ledger, suppressions };
            one.end(&end, look_up, tell.into_iter());
        }
    }

    /// Looks for JavaScript heaps that have not been collected for long.
    pub fn rest(&mut self, ledger: &Ledger) {
        for ((_, heap), one) in &mut self.heaps {
            if *heap != Heap::Native && !one.is_due && one.engine.rests(ledger.at()) {
                one.engine.rest(&mut one.judgements);
            }
        }
    }

    /// Sites of native memory that are judged, each with the stack that it counts as.
    #[must_use]
    pub fn native<'a>(&self, ledger: &'a Ledger, names: &Names) -> Vec<(Site<'a>, StackId)> {
        let is_native =
            |site: &Site<'_>| site.kind == Kind::Heap && is_of_v8(ledger, names, site) != Some(true);
        let counts_as = |site: &Site<'_>| {
            let one = self.heaps.get(&(site.process.id, Heap::Native));
            one.map_or(site.stack, |one| one.counts_as(site.stack))
        };
        let sites = ledger.sites().into_iter().filter(is_native);
        sites
            .map(|site| {
                let stack = counts_as(&site);
                (site, stack)
            })
            .collect()
    }

    /// What cannot be reached in a process, by the stacks of [`Self::native`]; stands until it is told anew.
    pub fn prove(&mut self, process: ProcessId, unreachable: HashMap<StackId, Unreachable>) {
        self.unreachable.insert(process, unreachable);
    }

    /// Takes note of a collection; after a whole one, `collected` is due with a snapshot taken since.
    pub fn hear(&mut self, collection: &Collection) {
        let Collection { process, heap, began, ended, before, after, .. } = *collection;
        // Samples from before a heap's first collection, of whatever kind that was, are known to be its from then on.
        let one = self.heaps.entry((process, Heap::JavaScript(heap))).or_insert_with(|| {
            let settings =
                Settings { floor: self.options.min_rate, ..Settings::collected(self.options.epoch) };
            One::new(Engine::new(settings, Moment(0), began), &self.options)
        });
        one.pending.hear(before, after);
        if !collection.is_major() {
            return;
        }
        one.majors += 1;
        one.is_due = true;
        one.pending.end(ended);
        if let Some(bytes) = after {
            one.growth = one.growing.after(HeapSize { at_ns: ended, bytes });
        }
    }

    /// A JavaScript heap is gone, and with it whatever it leaked.
    pub fn ended(&mut self, process: ProcessId, heap: u64) {
        if self.heaps.remove(&(process, Heap::JavaScript(heap))).is_some() {
            self.forget_javascript();
        }
    }

    /// Whether a process has to stay in the books: something was said of it, or its last epoch is still to be judged.
    #[must_use]
    pub fn needs(&self, process: ProcessId) -> bool {
        let own = self.heaps.range((process, Heap::Native)..).take_while(|((other, _), _)| *other == process);
        own.into_iter().any(|((_, heap), one)| {
            let is_waiting = *heap == Heap::Native && !one.ended;
            is_waiting || one.judgements.iter().any(|judgement| judgement.verdict.is_bad())
        })
    }

    /// Forgets processes whose books are closed.
    pub fn retire(&mut self, gone: &Gone) {
        let Gone { processes, binaries } = gone;
        if !processes.is_empty() {
            let has_javascript =
                |(process, heap): &(ProcessId, Heap)| *heap != Heap::Native && processes.contains(process);
            let had_javascript = self.heaps.keys().any(has_javascript);
            self.heaps.retain(|(process, _), _| !processes.contains(process));
            if had_javascript {
                self.forget_javascript();
            }
            self.unreachable.retain(|process, _| !processes.contains(process));
            self.isolates.forget(processes);
        }
        if !processes.is_empty() || !binaries.is_empty() {
            self.frames.forget(gone);
        }
    }

    fn forget_javascript(&mut self) {
        self.frames.keep_javascript(self.heaps.values().flat_map(One::frames));
    }

    /// Ends an epoch of each JavaScript heap for each time that it was collected as a whole since the last call, and
    /// judges it once.
    pub fn collected(&mut self, ledger: &Ledger, names: &Names) {
        if !self.heaps.values().any(|one| one.is_due) {
            return;
        }
        let sites = ledger.sites();
        self.isolates.learn(&sites);
        for ((process, heap), one) in self.heaps.iter_mut().filter(|(_, one)| one.is_due) {
            let Heap::JavaScript(address) = *heap else { continue };
            one.is_due = false;
            let pending = one.pending.take();
            // What it said while it was taken to be followed holds no more.
            if !ledger.is_followed(*process) {
                one.judgements.clear();
                continue;
            }
            let own = || {
                let own = sites.iter().filter(|site| site.process.id == *process);
                let own = own.filter(|site| site.kind == Kind::JavaScript);
                own.filter(|site| self.isolates.may_be_of(site, address))
            };
            let samples = |site: &'_ Site<'_>| {
                let samples = site.samples.iter().copied().filter(|sample| sample.heap == address);
                samples.copied().collect::<Vec<_>>()
            };
            // A record of a collection may be lost: samples tell how many there were at least.
            let seen = own().flat_map(samples).map(|one| one.born_major + u32::from(one.major_survived));
            let majors = one.majors.max(seen.max().unwrap_or_default().into());
            if one.engine.last().is_some_and(|last| last.0 >= majors) {
                continue;
            }
            let totals = sum(own());
            let seeing = Seeing::of(ledger, *heap, totals);
            one.catch_up(&pending, majors, totals.allocs);
            let wall_ns = ledger.at();
            let allocs = totals.allocs;
            let end = End { end: Moment(majors), wall_ns, allocs, worked: None, has_runtime: false, seeing };
            let tell = own().map(|site| {
                let blocks = samples(site).iter().map(one::sampled).collect();
                Told { site, blocks, unreachable: Unreachable::default() }
            });
            let suppressions = &self.options.suppressions;
            one.end(&end, LookUp { frames: &mut self.frames, names, ledger, suppressions }, tell);
            for judgement in &mut one.judgements {
                judgement.evidence.verified = Verified::Collector;
            }
        }
    }

    /// Everything that was said at the last epochs' ends: leaks first, each by its rate.
    pub fn said(&self) -> impl Iterator<Item = Said<'_>> {
        self.heaps.iter().flat_map(|((process, heap), one)| {
            one.judgements.iter().map(move |judgement| Said {
                process: *process,
                heap: *heap,
                judgement,
                stacks: one.stacks(judgement),
                suppressed: one.suppressed(judgement),
            })
        })
    }

    /// Places in the stacks of what is called or suspected now.
    pub fn suspected<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = Place> {
        let bad = self.said().filter(|said| said.judgement.verdict.is_bad());
        let stacks = bad.flat_map(move |Said { process, stacks, .. }| {
            stacks.into_iter().filter_map(move |stack| ledger.taken(process, stack))
        });
        stacks.flat_map(Taken::frames).map(|frame| frame.place).filter(|place| place.can_be_named())
    }

    /// Whether an epoch is over.
    #[must_use]
    pub fn has_judged(&self) -> bool {
        self.heaps.values().any(|one| one.engine.epochs() > 0)
    }

    /// memwatch's early sign, for each heap that shows it.
    pub fn growing(&self) -> impl Iterator<Item = (ProcessId, &HeapGrowth)> {
        self.heaps.iter().filter_map(|((process, _), one)| Some((*process, one.growth.as_ref()?)))
    }

    #[must_use]
    pub const fn frames(&self) -> &Frames {
        &self.frames
    }
}

fn sum<'a>(sites: impl IntoIterator<Item = &'a Site<'a>>) -> Totals {
    sites.into_iter().fold(Totals::default(), |mut sum, site| {
        sum += site.totals;
        sum
    })
}

/// V8's own memory is never the program's leak. None while that is not known: a name is still being looked up.
fn is_of_v8(ledger: &Ledger, names: &Names, site: &Site<'_>) -> Option<bool> {
    if ledger.engine(site.process.id).is_none() {
        return Some(false);
    }
    let native = site.taken.into_iter().flat_map(Taken::frames).map(|frame| frame.place);
    let native = native.take_while(|place| !place.is_javascript());
    let functions = native.clone().filter_map(|place| frames::native_names(place, names)).flatten();
    let is_named = |place: Place| !place.can_be_named() || names.contains(place);
    match crate::report::owner(functions) {
        Some(_) => Some(true),
        None => native.clone().all(is_named).then_some(false),
    }
}

#[cfg(test)]
mod tests;
