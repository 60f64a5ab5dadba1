//! Blocks that lived when a window ended, until the next one: nobody hears of their end then.
//!
//! glibc's heap says which of them are free. One that is in use may by now be another one at the same address, so the start of
//! each is compared with what it held when it first outlived a window. What has changed is not followed any more: a block that
//! is used changes too, and is left out for that. What is kept is lost to its program, or rests.
//!
//! Of another allocator's there is that comparison alone: one that was freed and not handed out since may look as it did. So
//! nothing is called a leak for what is known so (`run::verifying`).

mod contents;

use std::collections::{BTreeSet, HashMap};

use leaktrace_common::{
    live::{Block, BlockKey},
    process::ProcessId,
    stack::StackId,
};

use self::contents::contents;
use crate::{
    event::{self, InUse},
    heap_reader::{Checked, HeapReader, Libcs, Liveness, Refused, SizeInUse},
    kernel::clock::{self, page_size},
    process::{Memory, ProcessError},
};

/// So many blocks of a stack have been noted before any stack has more of them noted.
const TURNS: [usize; 2] = [8, 64];

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
        let taken = |(process, heap): (&ProcessId, &mut Heap)| (*process, std::mem::take(&mut heap.blocks));
        let mut before: HashMap<ProcessId, HashMap<u64, Known>> = self.heaps.iter_mut().map(taken).collect();
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

/// In order of their addresses, each process's together. In place: a full table is 40 MB, of which a machine that is short of
/// memory need not have a second.
fn by_process(blocks: &mut Blocks) -> impl Iterator<Item = (ProcessId, &[(BlockKey, Block)])> {
    blocks.sort_unstable_by_key(|(key, _)| (key.process, key.address));
    let groups = blocks.chunk_by(|(one, _), (next, _)| one.process == next.process);
    groups.map(|group| (group[0].0.process, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_has_some_in_the_first_turn() {
        let of = |stack: u64, address: u64| {
            (BlockKey::new(ProcessId(1), address), Block { size: 8, stack, born: 1 })
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
}
