//! What grew and what shrank between two moments: by what it is (a type of JavaScript, a size class of native memory),
//! and where it was allocated.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use leaktrace_common::stack::StackId;
use serde::{Deserialize, Serialize};

use super::stack_name;
use crate::ledger::Live;

/// What was live at a moment. Of a sampled heap both numbers are scaled up by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapMoment {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    live: BTreeMap<(StackId, String), Live>,
}

impl HeapMoment {
    #[must_use]
    pub fn new(at_ns: u64) -> Self {
        Self { at_ns, live: BTreeMap::new() }
    }

    /// Adds blocks of one stack; `what` is their type, or [`size_class`] for native memory.
    pub fn add(&mut self, stack: StackId, what: &str, live: Live) {
        let sum = self.live.entry((stack, what.to_owned())).or_default();
        sum.blocks += live.blocks;
        sum.bytes += live.bytes;
    }

    fn by<K: Ord>(&self, key: impl Fn(&StackId, &str) -> K) -> BTreeMap<K, Live> {
        let mut sums: BTreeMap<K, Live> = BTreeMap::new();
        for ((stack, what), live) in &self.live {
            let sum = sums.entry(key(stack, what)).or_default();
            sum.blocks += live.blocks;
            sum.bytes += live.bytes;
        }
        sums
    }
}

/// A change; below 0 is less than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    pub blocks: i64,
    pub bytes: i64,
}

impl Change {
    const fn between(before: Live, after: Live) -> Self {
        Self {
            blocks: after.blocks.wrapping_sub(before.blocks).cast_signed(),
            bytes: after.bytes.wrapping_sub(before.bytes).cast_signed(),
        }
    }
}

/// What changed of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Changed<K> {
    pub what: K,
    pub change: Change,
    pub after_blocks: u64,
    pub after_bytes: u64,
}

/// What changed of a stack, and of what it allocates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChangedStack {
    #[serde(serialize_with = "stack_name::one", deserialize_with = "stack_name::read")]
    pub stack: StackId,
    pub change: Change,
    pub types: Vec<Changed<String>>,
}

impl ChangedStack {
    /// What grew most is first.
    pub(crate) fn order(&self) -> (Reverse<i64>, StackId) {
        (Reverse(self.change.bytes), self.stack)
    }
}

/// What a difference is from, or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Of tracing: nothing of before is known.
    Start,
    Mark,
    /// Of tracing, or now.
    End,
}

/// Everything that changed, what grew most first and what shrank most last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapDiff {
    pub from: Point,
    pub to: Point,
    pub from_ns: u64,
    pub to_ns: u64,
    pub all: Change,
    pub types: Vec<Changed<String>>,
    pub stacks: Vec<ChangedStack>,
}

impl HeapDiff {
    #[must_use]
    pub fn between((from, before): (Point, &HeapMoment), (to, after): (Point, &HeapMoment)) -> Self {
        let all = |moment: &HeapMoment| moment.by(|_, _| ()).remove(&()).unwrap_or_default();
        let each = |_: &StackId, what: &str| what.to_owned();
        let mut stacks: BTreeMap<StackId, Vec<Changed<String>>> = BTreeMap::new();
        for Changed { what: (stack, what), change, after_blocks, after_bytes } in
            changed(&before.live, &after.live)
        {
            let changed = Changed { what, change, after_blocks, after_bytes };
            stacks.entry(stack).or_default().push(changed);
        }
        let mut stacks: Vec<ChangedStack> = stacks
            .into_iter()
            .map(|(stack, types)| ChangedStack {
                stack,
                change: Change {
                    blocks: types.iter().map(|changed| changed.change.blocks).sum(),
                    bytes: types.iter().map(|changed| changed.change.bytes).sum(),
                },
                types,
            })
            .collect();
        stacks.sort_by_key(ChangedStack::order);
        Self {
            from,
            to,
            from_ns: before.at_ns,
            to_ns: after.at_ns,
            all: Change::between(all(before), all(after)),
            types: changed(&before.by(each), &after.by(each)),
            stacks,
        }
    }
}

fn changed<K: Ord + Clone>(before: &BTreeMap<K, Live>, after: &BTreeMap<K, Live>) -> Vec<Changed<K>> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let of = |moment: &BTreeMap<K, Live>, key: &K| moment.get(key).copied().unwrap_or_default();
    let mut changes: Vec<Changed<K>> = keys
        .into_iter()
        .map(|key| {
            let Live { blocks, bytes } = of(after, key);
            let change = Change::between(of(before, key), of(after, key));
            Changed { what: key.clone(), change, after_blocks: blocks, after_bytes: bytes }
        })
        .filter(|changed| changed.change != Change::default())
        .collect();
    // Stable: what changed alike stays in the order of its names.
    changes.sort_by_key(|changed| Reverse(changed.change.bytes));
    changes
}

/// The name of a native block's size class: powers of two, `17 to 32 bytes`.
#[must_use]
pub fn size_class(bytes: u64) -> String {
    const SMALLEST: u64 = 16;
    if bytes <= SMALLEST {
        return format!("up to {SMALLEST} bytes");
    }
    let half = 1u64 << (u64::BITS - 1 - (bytes - 1).leading_zeros());
    format!("{} to {} bytes", half + 1, u128::from(half) * 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: StackId = StackId(1);
    const B: StackId = StackId(2);

    fn moment(at_ns: u64, live: &[(StackId, &str, u64, u64)]) -> HeapMoment {
        let mut moment = HeapMoment::new(at_ns);
        for (stack, what, blocks, bytes) in live {
            moment.add(*stack, what, Live { blocks: *blocks, bytes: *bytes });
        }
        moment
    }

    fn between(before: &HeapMoment, after: &HeapMoment) -> HeapDiff {
        HeapDiff::between((Point::Mark, before), (Point::End, after))
    }

    #[test]
    fn what_grew_most_is_first_and_what_shrank_is_last() {
        let before = moment(1, &[(A, "String", 10, 100), (A, "Array", 1, 500), (B, "Session", 1, 50)]);
        let after = moment(9, &[(A, "String", 30, 300), (B, "Session", 9, 950), (B, "String", 1, 1)]);
        let diff = between(&before, &after);
        let types: Vec<(&str, i64, i64)> =
            diff.types.iter().map(|t| (&*t.what, t.change.blocks, t.change.bytes)).collect();
        assert_eq!(types, [("Session", 8, 900), ("String", 21, 201), ("Array", -1, -500)]);
        assert_eq!(diff.all, Change { blocks: 28, bytes: 601 });
        let stacks: Vec<(StackId, i64)> = diff.stacks.iter().map(|s| (s.stack, s.change.bytes)).collect();
        assert_eq!(stacks, [(B, 901), (A, -300)]);
        assert_eq!((diff.from_ns, diff.to_ns), (1, 9));
    }

    #[test]
    fn what_did_not_change_is_left_out() {
        let same = moment(1, &[(A, "String", 10, 100)]);
        let diff = between(&same, &same);
        assert!(diff.types.is_empty() && diff.stacks.is_empty());
        assert_eq!(diff.all, Change::default());
    }

    #[test]
    fn native_blocks_are_named_by_powers_of_two() {
        let names = [0, 16, 17, 32, 33, 4096].map(size_class);
        let (small, page) = ("up to 16 bytes", "2049 to 4096 bytes");
        assert_eq!(names, [small, small, "17 to 32 bytes", "17 to 32 bytes", "33 to 64 bytes", page]);
        assert_eq!(size_class(u64::MAX), "9223372036854775809 to 18446744073709551616 bytes");
    }

    proptest! {
        #[test]
        fn types_and_stacks_sum_up_to_all(
            before in prop::collection::vec((0u64..4, 0u8..4, 0u64..99, 0u64..9999), 0..30),
            after in prop::collection::vec((0u64..4, 0u8..4, 0u64..99, 0u64..9999), 0..30),
        ) {
            let made = |live: &[(u64, u8, u64, u64)]| {
                let mut moment = HeapMoment::new(0);
                for (stack, what, blocks, bytes) in live {
                    moment.add(StackId(*stack), &what.to_string(), Live { blocks: *blocks, bytes: *bytes });
                }
                moment
            };
            let diff = between(&made(&before), &made(&after));
            let types: i64 = diff.types.iter().map(|changed| changed.change.bytes).sum();
            let stacks: i64 = diff.stacks.iter().map(|changed| changed.change.bytes).sum();
            prop_assert_eq!((types, stacks), (diff.all.bytes, diff.all.bytes));
        }
    }
}
