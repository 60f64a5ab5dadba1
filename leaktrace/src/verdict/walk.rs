//! From the stacks to the frames that verdicts are about: each object counts for one verdict at most.
//!
//! The tree is walked from its leaves to its root. A stack that passes alone is a verdict, one that is refuted on
//! enough objects is none, and both are taken out; what is undecided goes up and is judged at the next branching
//! together with what is undecided beside it. So many stacks with few objects each become one verdict at the
//! deepest frame that they share, and a healthy neighbour neither hides a leak nor is blamed for it.
//!
//! Verdicts below one frame are made one there if they are one leak by their shape: they end in the same frame, which
//! is not one of a wrapper that everything ends in, or there are three and more within a few frames.

use std::collections::{HashMap, HashSet};

use super::{
    judge::{Finding, judge},
    settings::Settings,
    stack::Leaf,
    sums::Sums,
    timeline::Timeline,
    trie::{FrameId, NodeId, Trie},
};

/// Scans in a row after which what they did not reach is proven to be lost.
const SCANS: u32 = 3;
/// So many verdicts within so few frames are one.
const MANY: usize = 3;
const NEAR: usize = 4;
/// What has this part of a verdict's blocks is what it is about.
const MOST_OF_IT: f64 = 0.9;

/// A frame that passes, or whose blocks are proven to be lost.
pub(super) struct Passing {
    pub(super) node: NodeId,
    pub(super) finding: Finding,
    pub(super) proven: bool,
    sums: Box<Sums>,
    /// Frames below that are part of it, and would be verdicts of their own.
    pub(super) parts: Vec<NodeId>,
}

pub(super) struct Walk<'a> {
    pub(super) trie: &'a Trie,
    pub(super) leaves: &'a HashMap<NodeId, Leaf>,
    pub(super) time: &'a Timeline,
    pub(super) settings: &'a Settings,
    /// Frames whose evidence is wanted even if there is little of it.
    pub(super) wanted: HashSet<NodeId>,
    /// Everything judged that does not pass.
    pub(super) others: HashMap<NodeId, Finding>,
}

impl Walk<'_> {
    pub(super) fn all(&mut self) -> Vec<Passing> {
        let (mut rest, mut passing) = (Sums::default(), Vec::new());
        self.visit(NodeId::ROOT, &mut rest, &mut passing);
        passing
    }

    /// Appends what passes below `node`, and adds what is undecided to `up`. As deep as the tree, which is no
    /// deeper than the longest stack.
    fn visit(&mut self, node: NodeId, up: &mut Sums, passing: &mut Vec<Passing>) {
        if let Some(leaf) = self.leaves.get(&node) {
            if !leaf.is_material(self.settings) && !self.wanted.contains(&node) {
                leaf.add_to(up);
                return;
            }
            let mut sums = Box::<Sums>::default();
            leaf.add_to(&mut sums);
            self.decide(node, sums, up, passing);
            return;
        }
        let mut rest = Box::<Sums>::default();
        let from = passing.len();
        for child in self.trie.children(node) {
            self.visit(*child, &mut rest, passing);
        }
        let below = passing.len();
        self.decide(node, rest, up, passing);
        let rest_passes = passing.len() > below;
        if rest_passes {
            let deepest = self.deepest(node, &passing[from..below]);
            passing[below].node = deepest;
            self.others.remove(&deepest);
        }
        let mostly_rest = rest_passes && {
            let parts: u64 = passing[from..below].iter().map(|part| part.finding.evidence.grown).sum();
            passing[below].finding.evidence.grown >= parts
        };
        if below > from && (mostly_rest || self.is_one_leak(node, &passing[from..])) {
            self.join(node, from, passing);
        }
    }

    /// What these objects are: a verdict, refuted, or undecided and added to `up`.
    fn decide(&mut self, node: NodeId, sums: Box<Sums>, up: &mut Sums, passing: &mut Vec<Passing>) {
        let proven = sums.unreachable.blocks > 0 && sums.unreachable.scans >= SCANS;
        match judge(&sums, self.time, self.settings, proven || self.wanted.contains(&node)) {
            Some(finding) if finding.passes || proven => {
                passing.push(Passing { node, finding, proven, sums, parts: Vec::new() });
            }
            Some(finding) => {
                if !finding.refuted {
                    up.add(&sums);
                }
                self.others.insert(node, finding);
            }
            None => up.add(&sums),
        }
    }

    /// The deepest frame that nearly all of what is undecided below a node is at: by itself it may lack a hair, and what
    /// it passes with further up is not what leaks.
    fn deepest(&self, node: NodeId, parts: &[Passing]) -> NodeId {
        let all = self.undecided(node, parts);
        let mut at = node;
        while let Some(child) = self
            .trie
            .children(at)
            .iter()
            .find(|child| self.undecided(**child, parts) as f64 >= MOST_OF_IT * all as f64)
        {
            at = *child;
        }
        at
    }

    /// Live blocks below a node that are of no verdict.
    fn undecided(&self, node: NodeId, parts: &[Passing]) -> u64 {
        let is_decided = parts.iter().any(|part| part.node == node)
            || self.others.get(&node).is_some_and(|finding| finding.refuted);
        match self.leaves.get(&node) {
            _ if is_decided => 0,
            Some(leaf) => leaf.live(),
            None => self.trie.children(node).iter().map(|child| self.undecided(*child, parts)).sum(),
        }
    }

    fn is_one_leak(&self, node: NodeId, parts: &[Passing]) -> bool {
        if parts.len() < 2 || node == NodeId::ROOT {
            return false;
        }
        let above = self.trie.path(node).len();
        let near = |part: &Passing| self.trie.path(part.node).len() <= above + NEAR;
        if parts.len() >= MANY && parts.iter().all(near) {
            return true;
        }
        let leaves: Vec<NodeId> = parts.iter().flat_map(|part| self.trie.leaves(part.node)).collect();
        let last = |leaf: &NodeId| self.trie.path(*leaf).last().copied();
        let Some(frame) = leaves.first().and_then(last) else { return false };
        leaves.iter().all(|leaf| last(leaf) == Some(frame)) && leaves.len() * 2 >= self.trie.ending_in(frame)
    }

    /// Makes one verdict of those from `from` on, if together they pass too.
    fn join(&mut self, node: NodeId, from: usize, passing: &mut Vec<Passing>) {
        let mut sums = Box::<Sums>::default();
        let mut parts = Vec::new();
        let mut proven = false;
        for part in &passing[from..] {
            sums.add(&part.sums);
            proven |= part.proven;
            parts.extend(part.parts.iter().copied().chain([part.node]).filter(|part| *part != node));
        }
        if let Some(finding) = judge(&sums, self.time, self.settings, true).filter(|finding| finding.passes) {
            passing.truncate(from);
            passing.push(Passing { node, finding, proven, sums, parts });
        }
    }

    /// The stacks below that hold something, and the frames that all of these end in, outermost first, as far as
    /// they are below the node.
    pub(super) fn stacks(&self, node: NodeId) -> (Vec<NodeId>, Vec<FrameId>) {
        let mut leaves = self.trie.leaves(node);
        leaves.sort_unstable();
        leaves.retain(|leaf| self.leaves.get(leaf).is_some_and(Leaf::is_live));
        let above = self.trie.path(node).len();
        let mut tail: Option<Vec<FrameId>> = None;
        for leaf in &leaves {
            let path = self.trie.path(*leaf);
            tail = Some(match tail {
                None => path[above..].to_vec(),
                Some(tail) => {
                    let same = tail.iter().rev().zip(path[above..].iter().rev()).take_while(|(a, b)| a == b);
                    tail[tail.len() - same.count()..].to_vec()
                }
            });
        }
        (leaves, tail.unwrap_or_default())
    }
}
