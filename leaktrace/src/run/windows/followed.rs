//! Blocks that lived when a window ended, until the next one: nobody hears of their end then.
//!
//! glibc's heap says which of them are free. One that is in use may by now be another one at the same address, so the start of
//! each is compared with what it held when it first outlived a window. What has changed is not followed any more: a block that
//! is used changes too, and is left out for that. What is kept is lost to its program, or rests.
//!
//! Of another allocator's there is that comparison alone: one that was freed and not handed out since may look as it did. So
//! nothing is called a leak for what is known so (`run::verifying`).

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hasher},
};

use leaktrace_common::{
    live::{Block, BlockKey},
    process::ProcessId,
    stack::StackId,
};

use crate::{
    event::{self, InUse},
    heap_reader::{Checked, HeapReader, Libcs, Liveness, Refused, SizeInUse},
    kernel::clock::{self, page_size},
    process::{Memory, ProcessError, ReadUser},
};

/// As much of a block's start is compared, in bytes.
const COMPARED: u64 = 64;
/// So much is read at once.
const READ: u64 = 256 << 10;
/// So many blocks of a stack have been noted before any stack has more of them noted.
const TURNS: [usize; 2] = [8, 64];
/// No machine has smaller pages.
const LEAST_PAGE: u64 = 4096;

/// A block's start, and when it was surely alive.
#[derive(Clone, Copy, Debug)]
struct Known {
    born: u64,
    content: u64,
    seen: u64,
}

/// What became of blocks.
#[derive(Debug, Default)]
pub(in super::super) struct Fates {
    /// Freed, and when they were seen alive last.
    pub(in super::super) freed: Vec<(BlockKey, Block, u64)>,
    /// Changed, or unreadable.
    pub(in super::super) unfollowed: Vec<(BlockKey, Block)>,
    /// What glibc says of the sizes that were looked at.
    pub(in super::super) in_use: Vec<InUse>,
}

/// The heap of one process.
struct Heap {
    memory: Memory,
    /// Once there was time for it; or why it cannot be read as a glibc's.
    reader: Option<Result<HeapReader, Refused>>,
    blocks: HashMap<u64, Known>,
}

impl Heap {
    fn open(pid: u32) -> Result<Self, ProcessError> {
        Ok(Self { memory: Memory::open(pid)?, reader: None, blocks: HashMap::new() })
    }

    /// Whether its allocator is to be looked for: for the first time, or once more where it may have been changing just then.
    const fn is_unread(&self) -> bool {
        matches!(self.reader, None | Some(Err(Refused::Misfit { .. })))
    }

    /// False if the process has ended, or runs another program.
    fn find_allocator(&mut self, pid: u32, libcs: &mut Libcs) -> bool {
        let reader = HeapReader::open_with(pid, page_size(), libcs);
        let is_there = match &reader {
            Ok(reader) => reader.is_in(&self.memory),
            Err(refused) => !matches!(refused, Refused::Process(ProcessError::NoSuchProcess { .. })),
        };
        self.reader = Some(reader);
        is_there
    }
}

#[derive(Default)]
pub(super) struct Followed {
    heaps: HashMap<ProcessId, Heap>,
    /// Whose allocators are not known yet.
    waiting: Vec<(ProcessId, u32)>,
    libcs: Libcs,
}

type Blocks = Vec<(BlockKey, Block)>;

impl Followed {
    /// Opens the memory of these processes, of one at least and of as many as there is time for `until` then, and forgets
    /// others. What their allocators are can wait.
    pub(super) fn open(&mut self, running: impl Iterator<Item = (ProcessId, u32)>, until: u64) {
        let mut before = std::mem::take(&mut self.heaps);
        self.waiting.clear();
        for (process, pid) in running {
            let heap = match before.remove(&process) {
                Some(heap) => heap,
                None if !self.heaps.is_empty() && clock::now() >= until => continue,
                // It may have ended by now.
                None => match Heap::open(pid) {
                    Ok(heap) => heap,
                    Err(_) => continue,
                },
            };
            if heap.is_unread() {
                self.waiting.push((process, pid));
            }
            self.heaps.insert(process, heap);
        }
    }

    /// Looks for allocators. How many there are that are none of a glibc that is known; none before all were looked for.
    pub(super) fn find_allocators(&mut self, until: u64) -> Option<usize> {
        while clock::now() < until
            && let Some((process, pid)) = self.waiting.pop()
        {
            let found = self.heaps.get_mut(&process).map(|heap| heap.find_allocator(pid, &mut self.libcs));
            if found == Some(false) {
                self.heaps.remove(&process);
            }
        }
        let unread = |heap: &&Heap| matches!(heap.reader, Some(Err(_)));
        self.waiting.is_empty().then(|| self.heaps.values().filter(unread).count())
    }

    /// Takes note of what blocks hold that are new, while their frees are still heard of: one process's at least, and as many
    /// as there is time for `until` then.
    pub(super) fn note(&mut self, mut blocks: Blocks, until: u64) {
        blocks.retain(|(key, block)| {
            let Some(heap) = self.heaps.get(&key.process) else { return false };
            heap.blocks.get(&key.address).is_none_or(|known| known.born != block.born)
        });
        let is_one = blocks.iter().all(|(key, _)| key.process == blocks[0].0.process);
        for mut turn in by_turns(blocks) {
            for (process, blocks) in by_process(&mut turn) {
                let Some(heap) = self.heaps.get_mut(&process) else { continue };
                for ((key, block), content) in blocks.iter().zip(contents(&heap.memory, blocks)) {
                    if let Some(content) = content {
                        let known = Known { born: block.born, content, seen: block.born };
                        heap.blocks.insert(key.address, known);
                    }
                }
                if clock::now() >= until && !is_one {
                    return;
                }
            }
        }
    }

    /// The window ended at `at`, when these lived: others are forgotten. Those of running processes that were not noted, or
    /// cannot be; what a process held that has ended is not in question any more.
    pub(super) fn keep(
        &mut self,
        mut blocks: Blocks,
        at: u64,
        is_running: impl Fn(ProcessId) -> bool,
    ) -> Blocks {
        let mut unknown = Vec::new();
        let mut before: HashMap<ProcessId, HashMap<u64, Known>> = HashMap::new();
        for (process, heap) in &mut self.heaps {
            before.insert(*process, std::mem::take(&mut heap.blocks));
        }
        for (process, blocks) in by_process(&mut blocks) {
            let Some(heap) = self.heaps.get_mut(&process) else {
                if is_running(process) {
                    unknown.extend_from_slice(blocks);
                }
                continue;
            };
            let before = before.remove(&process).unwrap_or_default();
            heap.blocks.reserve(blocks.len());
            for (key, block) in blocks {
                match before.get(&key.address).filter(|known| known.born == block.born) {
                    Some(known) => drop(heap.blocks.insert(key.address, Known { seen: at, ..*known })),
                    None => unknown.push((*key, *block)),
                }
            }
        }
        unknown
    }

    /// Looks what has become of these by now.
    pub(super) fn look(&mut self, mut blocks: Blocks, now: u64) -> Fates {
        let mut fates = Fates::default();
        for (process, blocks) in by_process(&mut blocks) {
            let Some(heap) = self.heaps.get_mut(&process) else { continue };
            let addresses: Vec<u64> = blocks.iter().map(|(key, _)| key.address).collect();
            // First: what is found in use after it was read was so then.
            let contents = contents(&heap.memory, blocks);
            let states = match &mut heap.reader {
                None => continue,
                Some(Ok(reader)) => {
                    let Ok(Checked { states, sizes }) = reader.check(&addresses) else { continue };
                    fates.in_use.extend(in_use((process, now), blocks, sizes));
                    states.into_iter().map(Some).collect()
                }
                Some(Err(_)) => vec![None; addresses.len()],
            };
            for ((&(key, block), content), state) in blocks.iter().zip(contents).zip(states) {
                let Some(known) = heap.blocks.get_mut(&key.address).filter(|known| known.born == block.born)
                else {
                    fates.unfollowed.push((key, block));
                    continue;
                };
                let is_same = content == Some(known.content);
                match state {
                    Some(Liveness::Free) => fates.freed.push((key, block, known.seen)),
                    _ if !is_same => fates.unfollowed.push((key, block)),
                    Some(Liveness::Live) => known.seen = now,
                    Some(Liveness::Unknown(_)) | None => {}
                }
            }
        }
        fates
    }
}

/// Some of each stack first, where there may not be time for all: what is handed out seldom is not to be missed because of
/// what is handed out all the time.
fn by_turns(blocks: Blocks) -> [Blocks; TURNS.len() + 1] {
    let mut turns: [Blocks; _] = Default::default();
    let mut of_stack: HashMap<StackId, usize> = HashMap::new();
    for (key, block) in blocks {
        let before = of_stack.entry(block.stack()).or_default();
        let turn = TURNS.iter().position(|most| *before < *most).unwrap_or(TURNS.len());
        *before += 1;
        turns[turn].push((key, block));
    }
    turns
}

/// Of the sizes that these blocks have.
fn in_use(
    (process, at): (ProcessId, u64),
    blocks: &[(BlockKey, Block)],
    mut sizes: Vec<SizeInUse>,
) -> Option<InUse> {
    let asked: BTreeSet<u64> = blocks.iter().map(|(_, block)| block.size).collect();
    sizes.retain(|size| asked.range(size.requests.clone()).next().is_some());
    let of = |SizeInUse { requests, most, usual }: SizeInUse| event::SizeInUse {
        from: *requests.start(),
        to: *requests.end(),
        most,
        usual,
    };
    (!sizes.is_empty()).then(|| InUse { process, at, sizes: sizes.into_iter().map(of).collect() })
}

/// In order of their addresses, each process's together. In place: a full table is 40 MB, of which a
/// machine that is short of memory need not have a second.
fn by_process(blocks: &mut Blocks) -> impl Iterator<Item = (ProcessId, &[(BlockKey, Block)])> {
    blocks.sort_unstable_by_key(|(key, _)| (key.process, key.address));
    let groups = blocks.chunk_by(|(one, _), (next, _)| one.process == next.process);
    groups.map(|group| (group[0].0.process, group))
}

/// A sum of each block's start; none where it cannot be read. The blocks are in order.
///
/// Those that begin less than a page apart are read at once: then no page lies in between that is none of theirs, and nothing
/// of the process is touched that another mapping of it may mind, such as a device's.
fn contents(memory: &impl ReadUser, blocks: &[(BlockKey, Block)]) -> Vec<Option<u64>> {
    let mut all = Vec::with_capacity(blocks.len());
    let mut bytes = Vec::new();
    let mut rest = blocks;
    while let Some(((first, _), _)) = rest.split_first() {
        let is_near = |pair: &[(BlockKey, Block)]| {
            let [(before, _), (next, _)] = pair else { return false };
            next.address - before.address < LEAST_PAGE && next.address - first.address < READ
        };
        let near = 1 + rest.windows(2).take_while(|pair| is_near(pair)).count();
        let (together, others) = rest.split_at(near);
        let end = together.iter().map(|(key, block)| key.address + compared(block)).max().unwrap_or_default();
        bytes.resize((end - first.address) as usize, 0);
        let is_read = memory.read(first.address, &mut bytes);
        for (key, block) in together {
            let start = (key.address - first.address) as usize;
            let start = &mut bytes[start..start + compared(block) as usize];
            // One of them is gone: each by itself.
            all.push((is_read || memory.read(key.address, start)).then(|| sum(start)));
        }
        rest = others;
    }
    all
}

/// Bytes of a block that are compared.
fn compared(block: &Block) -> u64 {
    block.size.min(COMPARED)
}

fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory from 0x1000 on.
    struct Fixed(Vec<u8>);

    impl ReadUser for Fixed {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            let Some(start) = address.checked_sub(0x1000) else { return false };
            let Some(bytes) = self.0.get(start as usize..start as usize + into.len()) else { return false };
            into.copy_from_slice(bytes);
            true
        }
    }

    fn block(address: u64, size: u64) -> (BlockKey, Block) {
        (BlockKey::new(ProcessId(1), address), Block { size, stack: 1, born: 1 })
    }

    #[test]
    fn a_change_of_a_blocks_start_is_seen_wherever_it_lies() {
        let mut memory = Fixed((0..=255).cycle().take(2 * READ as usize).collect());
        let mut blocks: Vec<_> = (0..READ / 1000 + 10).map(|at| block(0x1000 + at * 1000, 64)).collect();
        let last = 0x1000 + 2 * READ - 8;
        blocks.extend([block(0x1000 + READ + 50_000, 24), block(last, 8)]);
        let before = contents(&memory, &blocks);
        assert!(before.iter().all(Option::is_some));
        // Of the second, of one in the next piece, behind the end of the one of 24 bytes, and the last byte of all.
        for at in
            [1000, (READ as usize / 1000 + 3) * 1000 + 63, READ as usize + 50_024, 2 * READ as usize - 1]
        {
            memory.0[at] ^= 1;
        }
        let after = contents(&memory, &blocks);
        let changed = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after);
        let changed: Vec<usize> = changed.map(|(at, _)| at).collect();
        assert_eq!(changed, [1, READ as usize / 1000 + 3, blocks.len() - 1]);
    }

    #[test]
    fn nothing_is_read_but_pages_that_blocks_begin_in() {
        /// Where it was read.
        struct Asked(std::cell::RefCell<Vec<(u64, usize)>>);
        impl ReadUser for Asked {
            fn read(&self, address: u64, into: &mut [u8]) -> bool {
                self.0.borrow_mut().push((address, into.len()));
                true
            }
        }
        let memory = Asked(Default::default());
        // The second is large: what lies in it is not read.
        let blocks = [block(0x1000, 100), block(0x1f00, 50_000), block(0x8000, 16), block(0x9000, 16)];
        assert!(contents(&memory, &blocks).iter().all(Option::is_some));
        assert_eq!(memory.0.into_inner(), [(0x1000, 0xf00 + 64), (0x8000, 16), (0x9000, 16)]);
    }

    #[test]
    fn every_stack_has_some_in_the_first_turn() {
        let of = |stack: u64, address: u64| {
            let (key, block) = block(address, 8);
            (key, Block { stack, ..block })
        };
        let blocks = (0..100).map(|at| of(1, at)).chain((100..110).map(|at| of(2, at))).chain([of(3, 110)]);
        let turns = by_turns(blocks.collect());
        let counts = turns
            .map(|turn| [1, 2, 3].map(|stack| turn.iter().filter(|(_, block)| block.stack == stack).count()));
        assert_eq!(counts, [[8, 8, 1], [56, 2, 0], [36, 0, 0]]);
    }

    #[test]
    fn what_lived_at_a_windows_end_and_was_noted_is_kept_and_nothing_else() {
        let held = [[1u8; 64], [2; 64], [3; 64]];
        let of = |process, at: usize, born| {
            let key = BlockKey::new(ProcessId(process), held[at].as_ptr() as u64);
            (key, Block { size: 64, stack: 1, born })
        };
        let own = std::process::id();
        let mut followed = Followed::default();
        followed.open([(ProcessId(1), own), (ProcessId(2), own)].into_iter(), u64::MAX);
        followed.note(vec![of(2, 0, 1), of(1, 2, 1), of(1, 0, 1), of(1, 1, 1)], u64::MAX);
        // One was handed out again after it was noted, one process has no memory that is open, and one has ended.
        let lived = vec![of(3, 0, 1), of(1, 1, 5), of(4, 0, 1), of(1, 0, 1), of(2, 0, 1)];
        let unknown = followed.keep(lived, 9, |process| process != ProcessId(4));
        let born = |blocks: &[(BlockKey, Block)]| -> Vec<(ProcessId, u64)> {
            blocks.iter().map(|(key, block)| (key.process, block.born)).collect()
        };
        assert_eq!(born(&unknown), [(ProcessId(1), 5), (ProcessId(3), 1)]);
        let kept = |followed: &Followed, process: u32| followed.heaps[&ProcessId(process)].blocks.len();
        assert_eq!((kept(&followed, 1), kept(&followed, 2)), (1, 1));
        // What lives no more is forgotten, and so is all of a process that has nothing left.
        let unknown = followed.keep(vec![of(1, 2, 1), of(1, 0, 1)], 10, |_| true);
        assert_eq!(born(&unknown), [(ProcessId(1), 1)]);
        assert_eq!((kept(&followed, 1), kept(&followed, 2)), (1, 0));
    }

    #[test]
    fn what_cannot_be_read_has_no_content() {
        let memory = Fixed(vec![0; 64]);
        let read = contents(&memory, &[block(0x10, 8), block(0x1000, 64), block(0x1038, 64)]);
        assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(contents(&memory, &[block(0x1038, 64)]), [None]);
        assert!(contents(&memory, &[block(0x1038, 8)])[0].is_some());
    }
}
