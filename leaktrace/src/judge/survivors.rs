//! The survivors that verdicts on native memory count, to be held against the allocator's own state.

use leaktrace_common::process::ProcessId;

use super::{Heap, Judges};
use crate::{
    ledger::{Kind, Ledger, LiveBlock, Site},
    verdict::{Age, NoState, NodeId, Verified},
};

/// As many as tell one in a hundred that is free.
const MOST: usize = 200;

/// Of one verdict: all of them or, of many, some of every time.
#[derive(Clone, Debug)]
pub struct Survivors {
    pub process: ProcessId,
    pub node: NodeId,
    /// With the number of the hook that saw each allocated; none where that is not known.
    pub blocks: Vec<(LiveBlock, Option<u16>)>,
}

impl Judges {
    /// Survivors of everything native that is suspected or called a leak by now.
    #[must_use]
    pub fn survivors(&self, ledger: &Ledger) -> Vec<Survivors> {
        let mut wanted = self.heaps.iter().filter(|((_, heap), _)| *heap == Heap::Native).peekable();
        let is_wanted = |judgement: &&crate::verdict::Judgement| judgement.verdict.is_bad();
        if wanted.peek().is_none()
            || !wanted.clone().any(|(_, one)| one.judgements.iter().any(|one| is_wanted(&one)))
        {
            return Vec::new();
        }
        let sites = ledger.sites();
        let mut all = Vec::new();
        for ((process, _), one) in wanted {
            let own: Vec<&Site<'_>> =
                sites.iter().filter(|site| site.process.id == *process && site.kind == Kind::Heap).collect();
            for judgement in one.judgements.iter().filter(is_wanted) {
                let least = if let Age::Ns(ns) = judgement.evidence.older_than { ns } else { 0 };
                let stacks = one.stacks(judgement);
                let below = own.iter().filter(|site| stacks.contains(&site.stack));
                let blocks = below.flat_map(|site| {
                    let hook = site.taken.map(|taken| taken.hook);
                    let old =
                        site.blocks.iter().filter(|block| ledger.at().saturating_sub(block.born) >= least);
                    old.map(move |block| (*block, hook))
                });
                let blocks = some(blocks.collect());
                all.push(Survivors { process: *process, node: judgement.node, blocks });
            }
        }
        all
    }

    /// What the allocator's own state says of the survivors of a native verdict.
    pub fn verified(&mut self, process: ProcessId, node: NodeId, verified: Verified) {
        let Some(one) = self.heaps.get_mut(&(process, Heap::Native)) else { return };
        one.verified.insert(node, verified);
        if let Some(judgement) = one.judgements.iter_mut().find(|judgement| judgement.node == node) {
            one.engine.verified(judgement, verified);
        }
    }

    /// Lets what was found of it last stand; false where nobody has looked yet.
    pub fn still_verified(&mut self, process: ProcessId, node: NodeId) -> bool {
        let one = self.heaps.get(&(process, Heap::Native));
        let last = one.and_then(|one| one.verified.get(&node).copied());
        if let Some(last) = last {
            self.verified(process, node, last);
        }
        last.is_some()
    }

    /// The process cannot be looked at any more: what was found of it last stays.
    pub fn ended_before_verified(&mut self, process: ProcessId, node: NodeId) {
        if !self.still_verified(process, node) {
            self.verified(process, node, Verified::Impossible { because: NoState::ProcessEnded });
        }
    }
}

/// Evenly over their births.
fn some(mut blocks: Vec<(LiveBlock, Option<u16>)>) -> Vec<(LiveBlock, Option<u16>)> {
    blocks.sort_unstable_by_key(|(block, _)| block.born);
    let all = blocks.len();
    if all <= MOST {
        return blocks;
    }
    (0..MOST).map(|at| blocks[at * all / MOST]).collect()
}
