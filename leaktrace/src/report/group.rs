//! Stacks that a person cannot tell apart, taken together: of one function that was interpreted first and compiled
//! later there are as many as it had tiers.

use std::collections::HashMap;

use super::{Estimate, Frame, Report, Stack, Type, visible::visible};

/// One or more stacks with the same frames to show.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// The one that holds most. Its numbers are those of all.
    pub stack: Stack,
    pub frames: Vec<&'a Frame>,
    /// Frames that are not shown.
    pub left_out: usize,
    /// How many stacks it stands for.
    pub stacks: usize,
}

/// What tells groups apart: the process, the kind and owner of memory, and the frames.
type Key<'a> = (u32, &'a str, Option<&'a str>, Vec<Seen<'a>>);

/// What a person sees of a frame.
type Seen<'a> = (Option<&'a str>, Option<&'a str>, Option<u32>, &'a str);

/// Groups of stacks, by live bytes, most first, as the stacks are.
pub(super) fn groups<'a>(report: &'a Report, stacks: impl IntoIterator<Item = &'a Stack>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut by_frames: HashMap<Key<'a>, usize> = HashMap::new();
    for stack in stacks {
        let (frames, left_out) = visible(report.frames_of(stack));
        let seen = frames.iter().map(|frame| seen(frame)).collect();
        let key = (stack.process, stack.kind.as_ref(), stack.owner.as_deref(), seen);
        if left_out > 0
            && let Some(group) = by_frames.get(&key).and_then(|at| groups.get_mut(*at))
        {
            group.add(stack);
            continue;
        }
        if left_out > 0 {
            by_frames.insert(key, groups.len());
        }
        groups.push(Group { stack: stack.clone(), frames, left_out, stacks: 1 });
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.stack.totals.live_bytes));
    groups
}

fn seen(frame: &Frame) -> Seen<'_> {
    let address = if frame.function.is_some() { "" } else { &frame.address };
    (frame.function.as_deref(), frame.file.as_deref(), frame.line, address)
}

impl<'a> Group<'a> {
    /// A stack by itself, with all its frames.
    pub(super) fn of_one(report: &'a Report, stack: &'a Stack) -> Self {
        Self { stack: stack.clone(), frames: report.frames_of(stack).collect(), left_out: 0, stacks: 1 }
    }

    fn add(&mut self, other: &Stack) {
        let stack = &mut self.stack;
        stack.totals.add(other.totals);
        stack.oldest_age_ns = stack.oldest_age_ns.max(other.oldest_age_ns);
        // Of two medians the one of more blocks, which came first.
        stack.median_age_ns = stack.median_age_ns.or(other.median_age_ns);
        stack.complete &= other.complete;
        if let (Some(error), Some(more)) = (&mut stack.error_bytes, other.error_bytes) {
            *error = (*error as f64).hypot(more as f64) as u64;
        }
        add_types(&mut stack.types, &other.types);
        for range in &other.sizes {
            match stack.sizes.iter_mut().find(|known| known.from == range.from) {
                Some(known) => known.count += range.count,
                None => stack.sizes.push(*range),
            }
        }
        stack.sizes.sort_by_key(|range| range.from);
        self.stacks += 1;
    }
}

fn add_types(types: &mut Vec<Type>, more: &[Type]) {
    for kind in more {
        match types.iter_mut().find(|known| known.name == kind.name) {
            Some(known) => {
                let Estimate { bytes, error_bytes, samples } = kind.live;
                known.live.bytes += bytes;
                known.live.error_bytes = (known.live.error_bytes as f64).hypot(error_bytes as f64) as u64;
                known.live.samples += samples;
            }
            None => types.push(kind.clone()),
        }
    }
    types.sort_by_key(|kind| std::cmp::Reverse(kind.live.bytes));
}
