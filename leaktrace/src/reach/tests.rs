//! The mark, against a naive one on random memory.

use std::ops::Range;

use leaktrace_common::stack::StackId;
use proptest::prelude::*;

use super::{BlockAt, blocks::Blocks, mark::Mark, pass::pass};
use crate::process::ReadUser;

const BASE: u64 = 0x10_0000;
const WORDS: usize = 4096;

/// Words from `BASE` on.
struct Fixture(Vec<u64>);

impl ReadUser for Fixture {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        for (at, byte) in (address..).zip(into) {
            let Some(word) = at.checked_sub(BASE).and_then(|at| self.0.get((at / 8) as usize)) else {
                return false;
            };
            *byte = word.to_le_bytes()[(at % 8) as usize];
        }
        true
    }
}

/// Gaps and sizes in words, and bytes cut off the end.
fn layout() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec((0u64..40, 0u64..60, 0u64..8), 0..40).prop_map(|parts| {
        let mut at = BASE;
        let mut blocks: Vec<Range<u64>> = Vec::new();
        for (gap, words, cut) in parts {
            let start = at + gap * 8;
            if blocks.last().is_none_or(|last| last.start < start) {
                blocks.push(start..start + (words * 8).saturating_sub(cut));
                at = start + words * 8;
            }
        }
        blocks
    })
}

/// By the definition, over and over until nothing changes.
fn naive(blocks: &[Range<u64>], memory: &[u64], runs: &[Range<u64>]) -> Vec<bool> {
    let mut reached = vec![false; blocks.len()];
    loop {
        let before = reached.clone();
        for (at, word) in (BASE..).step_by(8).zip(memory) {
            let owner = blocks.iter().position(|block| at >= block.start && at < block.end);
            let counts = owner.is_none_or(|owner| reached[owner]) && runs.iter().any(|run| run.contains(&at));
            for (block, reached) in blocks.iter().zip(&mut reached) {
                *reached |= counts && *word >= block.start && *word <= block.end;
            }
        }
        if before == reached {
            return reached;
        }
    }
}

fn marked(blocks: &[Range<u64>], memory: &Fixture, runs: &[Range<u64>], passes: usize) -> Vec<bool> {
    let of = |range: &Range<u64>| BlockAt {
        address: range.start,
        size: range.end - range.start,
        stack: StackId(1),
        born: 0,
    };
    let known = Blocks::new(&blocks.iter().map(of).collect::<Vec<_>>());
    let mut mark = Mark::new(&known);
    for _ in 0..passes {
        pass(&mut mark, &known, memory, runs, runs.iter().cloned());
        mark.again();
    }
    (0..blocks.len()).map(|block| mark.is_reached(block)).collect()
}

proptest! {
    #[test]
    fn what_is_reached_is_what_the_definition_says(
        blocks in layout(),
        pointers in prop::collection::vec((0..WORDS, 0u64..WORDS as u64 * 8), 0..200),
        holes in prop::collection::vec(0..WORDS as u64 / 64, 0..4),
        passes in 1usize..3,
    ) {
        let mut memory = vec![0; WORDS];
        for (at, to) in pointers {
            memory[at] = BASE + to;
        }
        let page = 64 * 8;
        let all = (0..WORDS as u64 / 64).filter(|page| !holes.contains(page));
        let runs: Vec<_> = all.map(|number| BASE + number * page..BASE + (number + 1) * page).collect();
        let expected = naive(&blocks, &memory, &runs);
        prop_assert_eq!(marked(&blocks, &Fixture(memory), &runs, passes), expected);
    }
}

#[test]
fn a_ring_that_nothing_points_to_is_not_reached_and_a_long_list_is_to_its_end() {
    let blocks: Vec<_> = (0..1000u64).map(|n| BASE + n * 32..BASE + n * 32 + 16).collect();
    let mut memory = vec![0; WORDS];
    for n in 0..999 {
        memory[n * 4] = BASE + (n as u64 + 1) * 32;
    }
    // Two that point to each other; the list goes round them.
    memory[499 * 4] = BASE + 502 * 32;
    memory[501 * 4] = BASE + 500 * 32;
    memory[4000] = BASE;
    let whole = vec![BASE..BASE + WORDS as u64 * 8; 1];
    let reached = marked(&blocks, &Fixture(memory), &whole, 1);
    let lost: Vec<_> = (0..1000).filter(|n| !reached[*n]).collect();
    assert_eq!(lost, [500, 501]);
}

#[test]
fn memory_that_goes_while_it_is_read_is_counted_by_pages() {
    let known = Blocks::new(&[]);
    let mut mark = Mark::new(&known);
    // The fixture ends after 8 pages.
    let runs = vec![BASE..BASE + 12 * 4096; 1];
    let read = pass(&mut mark, &known, &Fixture(vec![0; WORDS]), &runs, runs.iter().cloned());
    assert_eq!((read.bytes, read.vanished), (8 * 4096, 4 * 4096));
}
