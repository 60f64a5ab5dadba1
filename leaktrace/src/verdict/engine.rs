//! One heap of one process, epoch after epoch: takes the stacks' numbers, judges, and remembers what it said.

use std::collections::HashMap;

use leaktrace_common::stack::StackId;

use super::{
    evidence::{Called, Evidence, Judgement, Lacking, Refuted, Test, Verdict},
    judge::Finding,
    settings::{Moment, Settings},
    stack::{Block, Leaf, Seen},
    timeline::{Epoch, Timeline},
    trie::{NodeId, Trie},
    walk::{Passing, Walk},
};

/// A heap that was collected every minute rests when it was not for four.
const RESTS: u64 = 4;

/// What was said of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) passes: u32,
    pub(super) called: Option<Called>,
    /// What a leak was called before, for where it is not let be one.
    pub(super) suspected: Option<Called>,
    /// The last verdict taken back, which stays to be shown until it is called again.
    pub(super) withdrawn: Option<(Called, Refuted)>,
    pub(super) taken_back: u32,
}

impl Standing {
    fn is_shown(&self) -> bool {
        self.called.is_some() || self.withdrawn.is_some()
    }
}

#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    time: Timeline,
    trie: Trie,
    nodes: HashMap<StackId, NodeId>,
    leaves: HashMap<NodeId, Leaf>,
    standing: HashMap<NodeId, Standing>,
    sampled: bool,
    /// Epochs that were over when it was judged last.
    judged: u32,
}

/// What a frame is held to be, and by what.
type Judged = (NodeId, Verdict, Finding);

/// The end of an epoch: every stack is told of, then it is judged.
#[derive(Debug)]
pub struct Ending<'a> {
    engine: &'a mut Engine,
}

impl Engine {
    /// `start` is where tracing began on the heap's clock, `start_ns` the same in nanoseconds of
    /// `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(settings: Settings, start: Moment, start_ns: u64) -> Self {
        Self {
            settings,
            time: Timeline::new(start, start_ns),
            trie: Trie::new(),
            nodes: HashMap::new(),
            leaves: HashMap::new(),
            standing: HashMap::new(),
            sampled: false,
            judged: 0,
        }
    }

    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Epochs that are over.
    #[must_use]
    pub const fn epochs(&self) -> u32 {
        self.time.epochs()
    }

    /// Where the last epoch ended on the heap's clock.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.time.last().map(|epoch| epoch.end)
    }

    /// The same in nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.time.now_ns()
    }

    /// Whether the frames of a stack need not be told again.
    #[must_use]
    pub fn knows(&self, stack: StackId) -> bool {
        self.nodes.contains_key(&stack)
    }

    /// For a collected heap that was not collected for long: nothing tells whether what was suspected still grows, so
    /// it is suspected no more. What was called a leak stands.
    pub fn rest(&mut self, judgements: &mut [Judgement]) {
        for judgement in judgements.iter_mut().filter(|judgement| judgement.verdict.is_suspect()) {
            judgement.verdict = Verdict::Collecting { lacking: Lacking::Decision { test: Test::NotSlowing } };
            judgement.passes = 0;
            if let Some(standing) = self.standing.get_mut(&judgement.node) {
                (standing.called, standing.passes) = (None, 0);
            }
        }
    }

    /// Whether such a heap has not been collected for so long at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn rests(&self, now_ns: u64) -> bool {
        let (last, epochs) = (self.time.now_ns(), u64::from(self.epochs()));
        let mean = last.saturating_sub(self.time.begin_ns(0)).checked_div(epochs);
        mean.is_some_and(|mean| now_ns.saturating_sub(last) > RESTS * mean)
    }

    pub(super) fn standing(&mut self, node: NodeId) -> &mut Standing {
        self.standing.entry(node).or_default()
    }

    /// The last epoch, from 1, and when it ended.
    pub(super) fn now(&self) -> (u32, u64) {
        (self.time.epochs(), self.time.now_ns())
    }

    /// Some of the [`Epoch::work`] of the epoch that ended then was a runtime's own: its functions had no names yet.
    pub fn take_back(&mut self, end: Moment, work: f64) {
        self.time.take_back(end, work);
    }

    /// Ends an epoch.
    pub fn end(&mut self, epoch: Epoch) -> Ending<'_> {
        let merged = self.time.push(epoch);
        for leaf in self.leaves.values_mut() {
            leaf.begin(merged);
        }
        Ending { engine: self }
    }
}

impl Ending<'_> {
    /// Tells of a stack, each once. One that is not told of holds nothing any more.
    pub fn stack(&mut self, seen: &Seen<'_>, blocks: impl IntoIterator<Item = Block>) {
        let Engine { time, trie, nodes, leaves, sampled, .. } = &mut *self.engine;
        let node = *nodes.entry(seen.stack).or_insert_with(|| trie.insert(seen.frames));
        let blocks = blocks.into_iter().inspect(|block| *sampled |= block.weight > 1.0);
        leaves.entry(node).or_default().see(seen, blocks, time);
    }

    /// Judges everything that there is enough of: leaks first, each by its rate.
    #[must_use]
    pub fn judge(self) -> Vec<Judgement> {
        let Engine { settings, time, trie, nodes, leaves, standing, sampled, judged } = self.engine;
        let since = time.epochs().saturating_sub(std::mem::replace(judged, time.epochs()));
        let mut walk = Walk {
            trie,
            leaves,
            time,
            settings,
            wanted: standing.iter().filter(|(_, said)| said.is_shown()).map(|(node, _)| *node).collect(),
            others: HashMap::new(),
        };
        let passing = walk.all();
        let mut book = Book { settings, time, since, standing: std::mem::take(standing) };
        let mut judged: Vec<Judged> = book.passing(&passing);
        judged.extend(book.others(&walk, &passing));

        let ids: HashMap<NodeId, StackId> = nodes.iter().map(|(stack, node)| (*node, *stack)).collect();
        let mut judgements: Vec<Judgement> = judged
            .into_iter()
            .map(|(node, verdict, finding)| {
                let evidence = Evidence { sampled: *sampled, ..finding.evidence };
                let said = book.standing.get(&node).copied().unwrap_or_default();
                // Of each stack below: for what is shown only, or a deep tree would be walked again at every depth.
                let (members, tail) = if said.is_shown() { walk.stacks(node) } else { Default::default() };
                let stacks = if said.is_shown() { members.len() as u32 } else { finding.stacks };
                let members = members.iter().filter_map(|leaf| ids.get(leaf).copied()).collect();
                let since = said.called.or(said.withdrawn.map(|(called, _)| called));
                Judgement {
                    node,
                    path: trie.path(node),
                    tail,
                    stacks,
                    members,
                    verdict,
                    evidence,
                    passes: said.passes,
                    since,
                    taken_back: said.taken_back,
                }
            })
            .collect();
        judgements.sort_by(|a, b| {
            let rates = (b.evidence.rate.bytes_per_s).total_cmp(&a.evidence.rate.bytes_per_s);
            rank(&a.verdict).cmp(&rank(&b.verdict)).then(rates).then(a.node.cmp(&b.node))
        });
        *standing = book.standing;
        judgements
    }
}

const fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::LeakProven => 0,
        Verdict::Leak => 1,
        Verdict::Suspect { .. } => 2,
        Verdict::TakenBack { .. } => 3,
        Verdict::Collecting { .. } => 4,
        Verdict::WarmUp | Verdict::Bounded | Verdict::Sawtooth | Verdict::Step => 5,
    }
}

/// Turns findings into verdicts, by what was said before.
struct Book<'a> {
    settings: &'a Settings,
    time: &'a Timeline,
    /// Epochs since the last judgement.
    since: u32,
    standing: HashMap<NodeId, Standing>,
}

impl Book<'_> {
    fn passing(&mut self, passing: &[Passing]) -> Vec<Judged> {
        let lossy = self.lossy_epoch();
        // A frame whose verdict is now part of one further up or down hands over what it earned.
        let mut passed: HashMap<NodeId, Standing> = HashMap::new();
        for Passing { node, parts, finding, .. } in passing {
            for part in parts.iter().chain([node]) {
                let mut standing = self.standing.get(part).copied().unwrap_or_default();
                if lossy.is_none() && finding.passes {
                    // Where several epochs are judged at once, it passed in those between two that it passed in.
                    standing.passes += if standing.passes > 0 { self.since } else { 1 };
                }
                passed.insert(*part, standing);
            }
            let most = parts.iter().filter_map(|part| passed.get(part)).map(|part| part.passes).max();
            let leak = parts.iter().filter_map(|part| passed.get(part)?.called).find(|called| called.leak);
            if let Some(mine) = passed.get_mut(node) {
                mine.passes = mine.passes.max(most.unwrap_or_default());
                mine.called = mine.called.or(leak);
            }
            for part in parts {
                if let Some(part) = passed.get_mut(part) {
                    part.called = None;
                }
            }
        }
        for (node, standing) in &mut self.standing {
            if !passed.contains_key(node) {
                standing.passes = 0;
            }
        }
        self.standing.extend(passed);
        passing.iter().map(|passing| self.call(passing, lossy)).collect()
    }

    fn call(&mut self, passing: &Passing, lossy: Option<Lacking>) -> Judged {
        let Passing { node, finding, proven, .. } = passing;
        let standing = self.standing.entry(*node).or_default();
        let lacking = lossy.or(self.settings.lacking(&finding.evidence, standing.passes));
        let before = standing.called;
        if let Some(called) = before.filter(|called| called.proven && !proven)
            && lacking.is_some()
        {
            // Growth by itself is not enough yet.
            return (*node, self.withdraw(*node, called, Refuted::Reached), finding.clone());
        }
        let was_leak = before.is_some_and(|called| called.leak && !called.proven);
        let verdict = match lacking {
            _ if *proven => Verdict::LeakProven,
            Some(lacking) if !was_leak => Verdict::Suspect { lacking },
            _ => Verdict::Leak,
        };
        let (leak, proven) = (verdict.is_leak(), *proven);
        if before.is_none_or(|called| called.leak != leak) {
            let (epoch, at_ns) = (self.time.epochs(), self.time.now_ns());
            standing.suspected = before.filter(|called| !called.leak);
            standing.called = Some(Called { leak, proven, epoch, at_ns });
        } else if let Some(called) = &mut standing.called {
            // What growth earned does not go with a proof.
            called.proven &= proven;
        }
        standing.withdrawn = None;
        (*node, verdict, finding.clone())
    }

    /// What does not pass: named, undecided, or taken back.
    fn others(&mut self, walk: &Walk<'_>, passing: &[Passing]) -> Vec<Judged> {
        let reported: Vec<NodeId> = passing.iter().map(|passing| passing.node).collect();
        let parts: Vec<NodeId> = passing.iter().flat_map(|passing| passing.parts.iter().copied()).collect();
        let mut judged = Vec::new();
        for (node, finding) in &walk.others {
            let standing = self.standing.get(node).copied().unwrap_or_default();
            let moved = || {
                walk.trie.up(*node).any(|above| reported.contains(&above))
                    || reported.iter().any(|below| walk.trie.up(*below).any(|above| above == *node))
            };
            if let Some(called) = standing.called {
                let verdict = if moved() {
                    self.forget(*node);
                    continue;
                } else if finding.refuted || finding.failed.is_some() || finding.evidence.survivors == 0 {
                    self.withdraw(*node, called, finding.refutation())
                } else if called.proven {
                    self.withdraw(*node, called, Refuted::Reached)
                } else if called.leak {
                    // Neither confirmed nor refuted: it stands.
                    Verdict::Leak
                } else {
                    self.forget(*node);
                    undecided(finding)
                };
                judged.push((*node, verdict, finding.clone()));
                continue;
            }
            let verdict = match standing.withdrawn {
                // A leak that was called is taken back for good; of what was suspected it is said what it is.
                Some((was, because)) => finding
                    .named()
                    .filter(|_| !was.leak && finding.failed.is_some())
                    .unwrap_or(Verdict::TakenBack { was, because }),
                None if walk.trie.children(*node).is_empty() || finding.refuted => {
                    finding.named().filter(|_| finding.failed.is_some()).unwrap_or_else(|| undecided(finding))
                }
                None => continue,
            };
            judged.push((*node, verdict, finding.clone()));
        }
        // Passing, and part of another verdict: nothing of its own to show any more.
        for part in parts {
            self.forget(part);
        }
        judged
    }

    fn withdraw(&mut self, node: NodeId, called: Called, because: Refuted) -> Verdict {
        let standing = self.standing.entry(node).or_default();
        standing.called = None;
        standing.withdrawn = Some((called, because));
        standing.taken_back += u32::from(called.leak);
        Verdict::TakenBack { was: called, because }
    }

    fn forget(&mut self, node: NodeId) {
        if let Some(standing) = self.standing.get_mut(&node) {
            standing.called = None;
        }
    }

    fn lossy_epoch(&self) -> Option<Lacking> {
        let epoch = self.time.last()?;
        self.settings.lossy(epoch.lost, epoch.events)
    }
}

fn undecided(finding: &Finding) -> Verdict {
    let lacking = finding.lacking.unwrap_or(Lacking::Survivors { seen: finding.evidence.grown, needed: 0 });
    Verdict::Collecting { lacking }
}

impl Settings {
    /// What a suspect lacks to be called a leak by its growth alone.
    fn lacking(&self, evidence: &Evidence, passes: u32) -> Option<Lacking> {
        let Evidence { grown, busy_epochs, busy_ns, lost, events, .. } = *evidence;
        if grown < self.leak_survivors {
            Some(Lacking::Survivors { seen: grown, needed: self.leak_survivors })
        } else if busy_epochs < self.leak_epochs {
            Some(Lacking::Epochs { seen: busy_epochs, needed: self.leak_epochs })
        } else if busy_ns < self.leak_ns {
            Some(Lacking::Time { seen_ns: busy_ns, needed_ns: self.leak_ns })
        } else if passes < self.passes {
            Some(Lacking::Passes { seen: passes, needed: self.passes })
        } else {
            // A free that was lost makes a survivor for ever, so the whole window counts.
            self.lossy(lost, events)
        }
    }

    fn lossy(&self, lost: u64, of: u64) -> Option<Lacking> {
        (lost > 0 && lost as f64 > self.lost * of as f64).then_some(Lacking::Events { lost, of })
    }
}
