//! Hand-written streams and snapshots, as the kernel side would send them.

use leaktrace_common::{
    hook::Shape,
    live::{Block, BlockKey},
    stack::{StackEntry, StopReason},
};

use super::*;
use crate::event::{Backing, Binary, Event, FileOffset, Mapping, Mappings, ProcessEvent, Region, Stack};

const ONE: ProcessId = ProcessId(1);
const TWO: ProcessId = ProcessId(2);
const A: StackId = StackId(0xa);
const B: StackId = StackId(0xb);

fn counters(process: ProcessId, stack: StackId, numbers: [u64; 4]) -> (StackId, StackEntry) {
    let [allocs, alloc_bytes, frees, freed_bytes] = numbers;
    let entry =
        StackEntry { allocs, alloc_bytes, frees, freed_bytes, process: process.0, ..StackEntry::default() };
    (stack, entry)
}

fn block(process: ProcessId, address: u64, stack: StackId, size: u64) -> (BlockKey, Block) {
    (BlockKey::new(process, address), Block { size, stack: stack.0, born: address })
}

fn stack(process: ProcessId, id: StackId, addresses: &[u64]) -> Event {
    Event::Stack(Stack {
        id,
        process,
        tgid: 100 + process.0,
        hook: 1,
        stop: StopReason::End,
        words: addresses.to_vec(),
    })
}

fn mapped(process: ProcessId, start: u64, binary: u32) -> Event {
    let backing = Backing::Binary(BinaryId(binary));
    let list = vec![Mapping { start, end: start + 0x1000, offset: FileOffset(0), backing }];
    Event::Mappings(Mappings { process, list, whole: false })
}

fn mmap(process: ProcessId, address: u64, length: u64) -> Event {
    Event::Region(Region {
        process,
        shape: Shape::Map,
        flags: 0,
        protection: 3,
        address,
        length,
        old_address: 0,
        old_length: 0,
        stack: B,
        entered: 1,
        returned: 2,
    })
}

fn ledger(events: &[Event]) -> Ledger {
    let mut ledger = Ledger::new(4096);
    for event in events {
        ledger.apply(event);
    }
    ledger
}

fn live(ledger: &Ledger, process: ProcessId) -> Live {
    let sites = ledger.sites();
    sites.iter().filter(|site| site.process.id == process).flat_map(|site| site.blocks.to_vec()).collect()
}

#[test]
fn a_snapshot_replaces_the_one_before() {
    let mut ledger = ledger(&[stack(ONE, A, &[0x10])]);
    for (at, size) in [(10, 100), (20, 7)] {
        let stacks = vec![counters(ONE, A, [2, size + 5, 1, 5])];
        let blocks = vec![block(ONE, 0x1000, A, size)];
        ledger.snapshot(Snapshot { at, stacks, blocks, ..Snapshot::default() });
        assert_eq!(live(&ledger, ONE), Live { blocks: 1, bytes: size });
        assert_eq!(ledger.discrepancies().count(), 0);
    }
}

fn taken(process: ProcessId, id: StackId, stop: StopReason, addresses: &[u64]) -> Event {
    let Event::Stack(stack) = stack(process, id, addresses) else { unreachable!() };
    Event::Stack(Stack { stop, ..stack })
}

#[test]
fn a_stack_that_was_cut_short_gives_way_to_what_was_made_of_it_and_to_nothing_else() {
    let mut ledger = ledger(&[taken(ONE, A, StopReason::NoTables, &[0x10])]);
    let mut now = |event| {
        ledger.apply(&event);
        let taken = ledger.taken(ONE, A).unwrap();
        (taken.stop, taken.frames().len())
    };
    assert_eq!(now(taken(ONE, A, StopReason::NoTables, &[0x10])), (StopReason::NoTables, 1));
    assert_eq!(now(taken(ONE, A, StopReason::UnknownCode, &[0x10, 0x20])), (StopReason::UnknownCode, 2));
    // Another CPU sent it too, late.
    assert_eq!(now(taken(ONE, A, StopReason::NoTables, &[0x10])), (StopReason::UnknownCode, 2));
    assert_eq!(now(taken(ONE, A, StopReason::End, &[0x10, 0x20, 0x30])), (StopReason::End, 3));
    assert_eq!(now(taken(ONE, A, StopReason::End, &[0x10; 9])), (StopReason::End, 3));
}

#[test]
fn stacks_that_are_one_once_finished_are_one_site() {
    let other = StackId(0xc);
    let mut ledger = ledger(&[
        mapped(ONE, 0, 1),
        stack(ONE, B, &[0x10, 0x20]),
        taken(ONE, A, StopReason::NoTables, &[0x10]),
        taken(ONE, other, StopReason::NoTables, &[0x10]),
        stack(ONE, A, &[0x10, 0x20]),
    ]);
    let stacks = [A, B, other].map(|id| counters(ONE, id, [2, 20, 1, 10])).to_vec();
    let blocks = [A, B, other].map(|id| block(ONE, id.0, id, 10)).to_vec();
    ledger.snapshot(Snapshot { stacks, blocks, ..Snapshot::default() });
    let mut sites = ledger.sites();
    sites.sort_by_key(|site| site.stack);
    let seen: Vec<_> = sites.iter().map(|site| (site.stack, site.totals.allocs, site.blocks.len())).collect();
    assert_eq!(seen, [(A, 4, 2), (other, 2, 1)]);
    assert_eq!(ledger.discrepancies().count(), 0);
}

#[test]
fn counters_and_blocks_that_differ_are_told_per_stack() {
    let mut ledger = ledger(&[]);
    let stacks = vec![counters(ONE, A, [2, 20, 0, 0]), counters(ONE, B, [1, 8, 1, 8])];
    ledger.snapshot(Snapshot { stacks, blocks: vec![block(ONE, 1, A, 10)], ..Snapshot::default() });
    let told = Discrepancy {
        process: ONE,
        stack: A,
        counted: Live { blocks: 2, bytes: 20 },
        listed: Live { blocks: 1, bytes: 10 },
    };
    assert_eq!(ledger.discrepancies().collect::<Vec<_>>(), [told]);
}

#[test]
fn an_exec_drops_what_the_old_program_held() {
    let mut ledger = ledger(&[mmap(ONE, 0x10000, 4096)]);
    let before = Snapshot { at: 5, blocks: vec![block(ONE, 0x1000, A, 100)], ..Snapshot::default() };
    ledger.snapshot(before.clone());
    ledger.apply(&Event::Process(ProcessEvent::Exec { tgid: 9, before: ONE, process: TWO, at: 6 }));
    assert_eq!(live(&ledger, ONE), Live::default(), "gone at once, not only at the next snapshot");

    let mut blocks = before.blocks;
    blocks.push(block(TWO, 0x1000, A, 30));
    for at in [7, 8] {
        ledger.snapshot(Snapshot { at, blocks: blocks.clone(), ..Snapshot::default() });
        assert_eq!(live(&ledger, ONE), Live::default());
        assert_eq!(live(&ledger, TWO), Live { blocks: 1, bytes: 30 });
        let dropped = Live { blocks: 2, bytes: 100 + 4096 };
        assert_eq!(ledger.heard().dropped_by_exec, dropped, "counted once, at {at}");
    }
    assert_eq!(ledger.settled().collect::<Vec<_>>(), [ONE]);
}

#[test]
fn an_exited_process_keeps_what_was_live_at_its_end() {
    let mut ledger = ledger(&[mmap(ONE, 0x10000, 4096)]);
    ledger.apply(&Event::Process(ProcessEvent::Exit { tgid: 9, process: ONE, at: 6 }));
    let stacks = vec![counters(ONE, A, [1, 100, 0, 0])];
    ledger.snapshot(Snapshot {
        at: 7,
        stacks,
        blocks: vec![block(ONE, 0x1000, A, 100)],
        ..Snapshot::default()
    });
    ledger.snapshot(Snapshot { at: 8, ..Snapshot::default() });
    assert_eq!(live(&ledger, ONE), Live { blocks: 2, bytes: 100 + 4096 });
    assert_eq!(ledger.discrepancies().count(), 0);
}

#[test]
fn a_stack_from_a_library_not_yet_listed_is_placed_by_the_next_list() {
    let mut ledger = ledger(&[mapped(ONE, 0x1000, 1), stack(ONE, A, &[0x1010, 0x9010])]);
    assert_eq!(ledger.unattributed().collect::<Vec<_>>(), [ONE]);
    ledger.apply(&mapped(ONE, 0x9000, 2));
    assert_eq!(ledger.unattributed().count(), 0);
    ledger.snapshot(Snapshot { blocks: vec![block(ONE, 1, A, 1)], ..Snapshot::default() });
    let place = |binary, offset| Place::Binary { binary: BinaryId(binary), offset: FileOffset(offset) };
    assert_eq!(ledger.places(), [place(1, 0xf), place(2, 0xf)]);

    ledger.apply(&stack(ONE, B, &[0xdead]));
    ledger.apply(&mapped(ONE, 0x9000, 2));
    assert_eq!(ledger.unattributed().count(), 0, "an address that no list has is asked for once");
}

#[test]
fn a_stack_sent_twice_stays_where_it_was_first_placed() {
    let mut ledger = ledger(&[mapped(ONE, 0x1000, 1), stack(ONE, A, &[0x1010]), mapped(ONE, 0x1000, 2)]);
    ledger.apply(&stack(ONE, A, &[0x1010]));
    ledger.snapshot(Snapshot { blocks: vec![block(ONE, 1, A, 1)], ..Snapshot::default() });
    assert_eq!(ledger.places(), [Place::Binary { binary: BinaryId(1), offset: FileOffset(0xf) }]);
}

#[test]
fn one_address_in_two_processes_is_two_blocks() {
    let mut ledger = ledger(&[]);
    let blocks = vec![block(ONE, 0x1000, A, 10), block(TWO, 0x1000, B, 20)];
    ledger.snapshot(Snapshot { blocks, ..Snapshot::default() });
    assert_eq!(live(&ledger, ONE), Live { blocks: 1, bytes: 10 });
    assert_eq!(live(&ledger, TWO), Live { blocks: 1, bytes: 20 });
}

#[test]
fn blocks_of_unknown_stacks_keep_their_process_and_the_sums_stay_right() {
    let mut ledger = ledger(&[]);
    let unknown = StackId::UNKNOWN;
    let stacks = vec![counters(ProcessId(0), unknown, [5, 50, 2, 20])];
    let blocks = vec![block(ONE, 1, unknown, 10), block(TWO, 1, unknown, 10), block(TWO, 2, unknown, 10)];
    ledger.snapshot(Snapshot { stacks, blocks, ..Snapshot::default() });
    assert_eq!(live(&ledger, TWO).bytes, 20);
    let mut sum = Totals::default();
    ledger.sites().iter().for_each(|site| sum += site.totals);
    assert_eq!(sum, Totals { allocs: 5, alloc_bytes: 50, frees: 2, freed_bytes: 20 });
    assert_eq!(ledger.discrepancies().count(), 0);
    assert_eq!(ledger.processes().count(), 2, "no process of number 0");
}

#[test]
fn a_file_is_forgotten_when_no_process_has_it_and_no_stack_is_in_it() {
    let named = |id| Event::Binary(Binary { id: BinaryId(id), path: format!("/lib/{id}") });
    let mut ledger = ledger(&[named(1), named(2), named(3), mapped(ONE, 0, 1), stack(ONE, A, &[0x10])]);
    // Another file took the place of the first: the stack is in that one all the same.
    ledger.apply(&mapped(ONE, 0, 2));
    let forgotten = |ledger: &mut Ledger, held: &[u32]| {
        let mut gone: Vec<u32> = ledger
            .forget_binaries_but(&held.iter().map(|id| BinaryId(*id)).collect())
            .iter()
            .map(|id| id.0)
            .collect();
        gone.sort_unstable();
        gone
    };
    assert_eq!(forgotten(&mut ledger, &[3]), [0; 0]);
    assert_eq!(forgotten(&mut ledger, &[]), [3]);
    assert_eq!((ledger.binary(BinaryId(1)), ledger.places().len()), (Some("/lib/1"), 1));
    ledger.retire(&HashSet::from([ONE]));
    assert_eq!(forgotten(&mut ledger, &[]), [1, 2]);
    assert_eq!((ledger.binary(BinaryId(1)), ledger.places().len()), (None, 0));
}
