//! By hand where a case has a name, and against one array element per page where it has none.

use leaktrace_common::process::ProcessId;
use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;
const A: StackId = StackId(0xa);
const B: StackId = StackId(0xb);

fn call(shape: Shape, page: u64, pages: u64, stack: StackId, at: u64) -> Region {
    Region {
        process: ProcessId(1),
        shape,
        flags: 0,
        protection: 3,
        address: page * PAGE,
        length: pages * PAGE,
        old_address: 0,
        old_length: 0,
        stack,
        entered: at,
        returned: at + 1,
    }
}

fn map(page: u64, pages: u64, stack: StackId, at: u64) -> Region {
    call(Shape::Map, page, pages, stack, at)
}

fn unmap(page: u64, pages: u64, at: u64) -> Region {
    call(Shape::Unmap, page, pages, StackId::UNKNOWN, at)
}

fn remap(old: (u64, u64), new: (u64, u64), stack: StackId, at: u64) -> Region {
    Region {
        old_address: old.0 * PAGE,
        old_length: old.1 * PAGE,
        ..call(Shape::Remap, new.0, new.1, stack, at)
    }
}

fn after(calls: &[Region]) -> Regions {
    let mut regions = Regions::new(PAGE);
    for call in calls {
        regions.apply(call);
    }
    regions
}

fn of(regions: &Regions, stack: StackId) -> (Totals, Vec<LiveBlock>) {
    let totals = regions.totals().find(|(id, _)| *id == stack).map(|(_, totals)| totals);
    (
        totals.unwrap_or_default(),
        regions.live().filter(|(id, _)| *id == stack).map(|(_, block)| block).collect(),
    )
}

fn totals(allocs: u64, alloc_pages: u64, frees: u64, freed_pages: u64) -> Totals {
    Totals { allocs, alloc_bytes: alloc_pages * PAGE, frees, freed_bytes: freed_pages * PAGE }
}

#[test]
fn a_mapping_is_freed_when_its_last_piece_goes() {
    let mut regions = after(&[map(10, 8, A, 1)]);
    let steps = [((12, 2), 2), ((10, 1), 3), ((17, 1), 4), ((11, 1), 5)];
    for ((page, pages), freed) in steps {
        regions.apply(&unmap(page, pages, 10));
        let block = LiveBlock { size: (8 - freed) * PAGE, born: 2, address: 0 };
        assert_eq!(of(&regions, A), (totals(1, 8, 0, freed), vec![block]));
    }
    regions.apply(&unmap(0, 100, 20));
    assert_eq!(of(&regions, A), (totals(1, 8, 1, 8), vec![]));
    assert_eq!(regions.unknown_bytes(), 97 * PAGE);
}

#[test]
fn a_fixed_mapping_ends_what_it_covers() {
    let regions = after(&[map(10, 8, A, 1), map(12, 2, B, 5)]);
    assert_eq!(
        of(&regions, A),
        (totals(1, 8, 0, 2), vec![LiveBlock { size: 6 * PAGE, born: 2, address: 0 }])
    );
    assert_eq!(
        of(&regions, B),
        (totals(1, 2, 0, 0), vec![LiveBlock { size: 2 * PAGE, born: 6, address: 0 }])
    );
    assert_eq!(regions.unknown_bytes(), 0);
}

#[test]
fn lengths_are_rounded_up_to_pages_as_the_kernel_does() {
    let byte = Region { length: 1, ..map(10, 0, A, 1) };
    let regions = after(&[byte]);
    assert_eq!(of(&regions, A).0, totals(1, 1, 0, 0));
}

#[test]
fn mremap_books_the_new_range_to_its_caller() {
    let grown = after(&[map(10, 4, A, 1), remap((10, 4), (10, 6), B, 5)]);
    assert_eq!(of(&grown, A), (totals(1, 4, 1, 4), vec![]));
    assert_eq!(of(&grown, B), (totals(1, 6, 0, 0), vec![LiveBlock { size: 6 * PAGE, born: 6, address: 0 }]));

    let part_moved_onto_another = after(&[map(10, 4, A, 1), map(20, 4, A, 3), remap((12, 2), (21, 2), B, 5)]);
    assert_eq!(of(&part_moved_onto_another, A).0, totals(2, 8, 0, 4));
    assert_eq!(of(&part_moved_onto_another, B).0, totals(1, 2, 0, 0));
    assert_eq!(part_moved_onto_another.unknown_bytes(), 0);
}

#[test]
fn mremap_that_leaves_the_old_range_adds_a_mapping() {
    let second = after(&[map(10, 4, A, 1), remap((10, 0), (20, 4), B, 5)]);
    assert_eq!(of(&second, A).0, totals(1, 4, 0, 0));
    let kept = Region { flags: MREMAP_DONTUNMAP, ..remap((10, 4), (20, 4), B, 5) };
    assert_eq!(of(&after(&[map(10, 4, A, 1), kept]), A).0, totals(1, 4, 0, 0));
}

#[test]
fn an_unmap_that_arrives_late_spares_the_mapping_made_since() {
    let late = Region { entered: 3, returned: 9, ..unmap(10, 4, 3) };
    let regions = after(&[map(10, 4, A, 1), map(10, 4, B, 5), late]);
    assert_eq!(of(&regions, A), (totals(1, 4, 1, 4), vec![]));
    assert_eq!(
        of(&regions, B),
        (totals(1, 4, 0, 0), vec![LiveBlock { size: 4 * PAGE, born: 6, address: 0 }])
    );
    assert_eq!(regions.unknown_bytes(), 0);
}

#[test]
fn of_two_mappings_that_arrive_crossed_the_later_one_stands() {
    let regions = after(&[map(12, 4, B, 5), map(10, 4, A, 1)]);
    assert_eq!(
        of(&regions, A),
        (totals(1, 4, 0, 2), vec![LiveBlock { size: 2 * PAGE, born: 2, address: 0 }])
    );
    assert_eq!(of(&regions, B).0, totals(1, 4, 0, 0));
}

#[test]
fn a_length_past_the_end_of_the_address_space_is_no_panic() {
    let mut regions = after(&[map(10, 4, A, 1)]);
    regions.apply(&Region { address: u64::MAX - 5, length: u64::MAX, ..map(0, 0, B, 3) });
    regions.apply(&Region { length: u64::MAX, ..unmap(0, 0, 5) });
    assert!(of(&regions, A).1.is_empty());
}

/// One element per page.
#[derive(Default)]
struct Naive {
    pages: Vec<Option<usize>>,
    maps: Vec<(StackId, u64, u64)>,
    unknown: u64,
}

impl Naive {
    fn apply(&mut self, call: &Region) {
        let pages =
            |address: u64, length: u64| (address / PAGE) as usize..((address + length) / PAGE) as usize;
        let old = match call.shape {
            Shape::Unmap => pages(call.address, call.length),
            Shape::Remap => pages(call.old_address, call.old_length),
            _ => 0..0,
        };
        for page in old {
            match self.pages[page] {
                Some(number) if self.maps[number].1 < call.entered => self.pages[page] = None,
                Some(_) => {}
                None => self.unknown += PAGE,
            }
        }
        if call.shape == Shape::Unmap {
            return;
        }
        self.maps.push((call.stack, call.returned, call.length));
        let number = self.maps.len() - 1;
        for page in pages(call.address, call.length) {
            let newer = self.pages[page].is_some_and(|other| self.maps[other].1 > call.returned);
            if !newer {
                self.pages[page] = Some(number);
            }
        }
    }

    fn of(&self, stack: StackId) -> (Totals, Vec<LiveBlock>) {
        let (mut totals, mut blocks) = (Totals::default(), Vec::new());
        for (number, (_, born, length)) in self.maps.iter().enumerate().filter(|(_, map)| map.0 == stack) {
            let size = self.pages.iter().filter(|page| **page == Some(number)).count() as u64 * PAGE;
            totals += Totals {
                allocs: 1,
                alloc_bytes: *length,
                frees: u64::from(size == 0),
                freed_bytes: length - size,
            };
            if size > 0 {
                blocks.push(LiveBlock { size, born: *born, address: 0 });
            }
        }
        (totals, blocks)
    }
}

const SPACE: u64 = 24;

fn any_call() -> impl Strategy<Value = Region> {
    let range = || (0..SPACE - 8, 1..8u64);
    let stack = prop_oneof![Just(A), Just(B)];
    (0..3u8, range(), range(), stack, 0..60u64, 0..12u64).prop_map(
        |(shape, new, old, stack, entered, took)| {
            let region = match shape {
                0 => map(new.0, new.1, stack, entered),
                1 => unmap(new.0, new.1, entered),
                _ => remap(old, new, stack, entered),
            };
            Region { returned: entered + took, ..region }
        },
    )
}

proptest! {
    // Times are drawn at random, so calls come in every order, late ones included.
    #[test]
    fn intervals_agree_with_one_element_per_page(calls in prop::collection::vec(any_call(), 1..60)) {
        let mut naive = Naive { pages: vec![None; SPACE as usize], ..Naive::default() };
        let mut regions = Regions::new(PAGE);
        for call in &calls {
            naive.apply(call);
            regions.apply(call);
            for stack in [A, B] {
                prop_assert_eq!(of(&regions, stack), naive.of(stack));
            }
            prop_assert_eq!(regions.unknown_bytes(), naive.unknown);
        }
    }
}
