//! All stacks of a process as a tree of frames, outermost first. Frames that no stack branches at share a node, so
//! there are at most two nodes for each stack, however deep it is. Every stack ends in a leaf of its own.

use std::collections::HashMap;

use serde::Serialize;

/// A frame as the caller names it: what has the same id is the same place. An id stays the same for the life of
/// the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FrameId(pub u64);

/// A node, for the life of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);

    const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Node {
    parent: NodeId,
    /// From the parent to here.
    frames: Box<[FrameId]>,
    children: Vec<NodeId>,
}

#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// By the parent and the first frame; a leaf whose stack ends at its parent is not in it.
    by_frame: HashMap<(NodeId, FrameId), NodeId>,
    /// How many stacks end in this frame.
    ending_in: HashMap<FrameId, usize>,
}

impl Trie {
    pub(super) fn new() -> Self {
        let root = Node { parent: NodeId::ROOT, frames: Box::default(), children: Vec::new() };
        Self { nodes: vec![root], by_frame: HashMap::new(), ending_in: HashMap::new() }
    }

    /// A new leaf for a stack, its frames outermost first.
    pub(super) fn insert(&mut self, frames: &[FrameId]) -> NodeId {
        if let Some(last) = frames.last() {
            *self.ending_in.entry(*last).or_default() += 1;
        }
        let (mut at, mut rest) = (NodeId::ROOT, frames);
        while let Some(child) = rest.first().and_then(|first| self.by_frame.get(&(at, *first))).copied() {
            let label = &self.nodes[child.index()].frames;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            // A leaf may not become the parent of another.
            at = if common < label.len() || self.children(child).is_empty() {
                self.split(child, common)
            } else {
                child
            };
            rest = &rest[common..];
        }
        self.add(at, rest)
    }

    /// Cuts the frames of a node in two. It keeps its id and what is below; the new node is above it.
    fn split(&mut self, node: NodeId, at: usize) -> NodeId {
        let parent = self.nodes[node.index()].parent;
        let frames = std::mem::take(&mut self.nodes[node.index()].frames);
        let (upper, lower) = frames.split_at(at);
        let middle = self.fresh(parent, upper);
        if let Some(slot) = self.nodes[parent.index()].children.iter_mut().find(|child| **child == node) {
            *slot = middle;
        }
        self.by_frame.insert((parent, upper[0]), middle);
        if let Some(first) = lower.first() {
            self.by_frame.insert((middle, *first), node);
        }
        self.nodes[node.index()].frames = lower.into();
        self.nodes[node.index()].parent = middle;
        self.nodes[middle.index()].children.push(node);
        middle
    }

    fn add(&mut self, parent: NodeId, frames: &[FrameId]) -> NodeId {
        let node = self.fresh(parent, frames);
        self.nodes[parent.index()].children.push(node);
        if let Some(first) = frames.first() {
            self.by_frame.insert((parent, *first), node);
        }
        node
    }

    fn fresh(&mut self, parent: NodeId, frames: &[FrameId]) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { parent, frames: frames.into(), children: Vec::new() });
        id
    }

    pub(super) fn children(&self, node: NodeId) -> &[NodeId] {
        &self.nodes[node.index()].children
    }

    pub(super) fn ending_in(&self, frame: FrameId) -> usize {
        self.ending_in.get(&frame).copied().unwrap_or_default()
    }

    /// Frames from this node's parent to here.
    pub(super) fn frames(&self, node: NodeId) -> &[FrameId] {
        &self.nodes[node.index()].frames
    }

    /// All frames down to this node, outermost first.
    pub(super) fn path(&self, node: NodeId) -> Vec<FrameId> {
        let mut labels: Vec<&[FrameId]> = self.up(node).map(|node| self.frames(node)).collect();
        labels.reverse();
        labels.concat()
    }

    /// The node, its parent and so on, up to and with the root.
    pub(super) fn up(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(node), |node| {
            (*node != NodeId::ROOT).then(|| self.nodes[node.index()].parent)
        })
    }

    pub(super) fn leaves(&self, node: NodeId) -> Vec<NodeId> {
        let (mut open, mut leaves) = (vec![node], Vec::new());
        while let Some(node) = open.pop() {
            let children = self.children(node);
            if children.is_empty() {
                leaves.push(node);
            }
            open.extend(children);
        }
        leaves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(ids: &[u64]) -> Vec<FrameId> {
        ids.iter().copied().map(FrameId).collect()
    }

    #[test]
    fn stacks_share_the_frames_that_they_have_in_common() {
        let mut trie = Trie::new();
        let a = trie.insert(&frames(&[1, 2, 3, 4]));
        let b = trie.insert(&frames(&[1, 2, 5]));
        let shared = trie.children(NodeId::ROOT)[0];
        assert_eq!(trie.path(shared), frames(&[1, 2]));
        assert_eq!(trie.leaves(shared).len(), 2);
        assert_eq!([trie.path(a), trie.path(b)], [frames(&[1, 2, 3, 4]), frames(&[1, 2, 5])]);
    }

    #[test]
    fn a_stack_that_is_the_start_of_another_has_a_leaf_of_its_own() {
        let mut trie = Trie::new();
        let long = trie.insert(&frames(&[1, 2, 3]));
        let short = trie.insert(&frames(&[1, 2]));
        let longer = trie.insert(&frames(&[1, 2, 3, 4]));
        let again = trie.insert(&frames(&[1, 2]));
        for leaf in [long, short, longer, again] {
            assert!(trie.children(leaf).is_empty());
        }
        assert_eq!(trie.path(short), trie.path(again));
        assert_eq!(trie.leaves(NodeId::ROOT).len(), 4);
    }

    proptest! {
        #[test]
        fn any_stacks_are_found_again_with_few_nodes(
            stacks in prop::collection::vec(prop::collection::vec(0u64..3, 0..8), 1..60)
        ) {
            let mut trie = Trie::new();
            let leaves: Vec<NodeId> = stacks.iter().map(|stack| trie.insert(&frames(stack))).collect();
            for (stack, leaf) in stacks.iter().zip(&leaves) {
                prop_assert_eq!(trie.path(*leaf), frames(stack));
                prop_assert!(trie.children(*leaf).is_empty());
            }
            prop_assert_eq!(trie.leaves(NodeId::ROOT).len(), stacks.len());
            prop_assert!(trie.nodes.len() <= 2 * stacks.len() + 1);
        }
    }
}
