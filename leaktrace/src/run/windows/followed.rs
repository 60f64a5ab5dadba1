//! Blocks that lived when a window ended, until the next one: nobody hears of their end then.
//!
//! glibc's heap says which of them are free. One that is in use may by now be another one at the same address, so the start of
//! each is compared with what it held when it first outlived a window. What has changed is not followed any more: a block that
//! is used changes too, and is left out for that. What is kept is lost to its program, or rests.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
};

use leaktrace_common::{
    live::{Block, BlockKey},
    process::ProcessId,
};

use crate::{
    heap_reader::{HeapReader, Liveness, Refused},
    kernel::clock::page_size,
    process::{Memory, ProcessError, ReadUser},
};

/// Bytes of a block that are compared.
const COMPARED: usize = 64;
/// Read at once: blocks lie close to each other.
const READ: usize = 256 << 10;

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
}

/// The heap of one process.
struct Heap {
    reader: HeapReader,
    memory: Memory,
    blocks: HashMap<u64, Known>,
}

impl Heap {
    fn open(pid: u32) -> Result<Self, Refused> {
        let reader = HeapReader::open(pid, page_size())?;
        Ok(Self { reader, memory: Memory::open(pid)?, blocks: HashMap::new() })
    }
}

#[derive(Default)]
pub(super) struct Followed(HashMap<ProcessId, Heap>);

/// Blocks of one process, by address.
type Blocks = Vec<(BlockKey, Block)>;

impl Followed {
    /// Opens the heaps of these processes, and forgets those of others.
    ///
    /// # Errors
    /// One is none of a glibc that is known.
    pub(super) fn open(&mut self, running: impl Iterator<Item = (ProcessId, u32)>) -> Result<(), Refused> {
        let mut before = std::mem::take(&mut self.0);
        for (process, pid) in running {
            let opened = before.remove(&process).map_or_else(|| Heap::open(pid), Ok);
            match opened {
                Ok(heap) => drop(self.0.insert(process, heap)),
                // It has just ended.
                Err(Refused::Process(ProcessError::NoSuchProcess { .. })) => {}
                Err(refused) => return Err(refused),
            }
        }
        Ok(())
    }

    /// Takes note of what blocks hold that are new, while their frees are still heard of.
    pub(super) fn note(&mut self, blocks: Blocks) {
        for (process, blocks) in by_process(blocks) {
            let Some(heap) = self.0.get_mut(&process) else { continue };
            let contents = contents(&heap.memory, &blocks);
            for ((key, block), content) in blocks.iter().zip(contents) {
                let is_known = heap.blocks.get(&key.address).is_some_and(|known| known.born == block.born);
                if let Some(content) = content.filter(|_| !is_known) {
                    let known = Known { born: block.born, content, seen: block.born };
                    heap.blocks.insert(key.address, known);
                }
            }
        }
    }

    /// The window ended at `at`, when these lived: others are forgotten. Those of running processes that were not noted; what a
    /// process held that has ended is not in question any more.
    pub(super) fn keep(&mut self, blocks: Blocks, at: u64) -> Blocks {
        let mut unknown = Vec::new();
        let mut rest = by_process(blocks);
        for (process, heap) in &mut self.0 {
            let blocks = rest.remove(process).unwrap_or_default();
            let mut kept = HashMap::with_capacity(blocks.len());
            for (key, block) in blocks {
                match heap.blocks.get(&key.address).filter(|known| known.born == block.born) {
                    Some(known) => drop(kept.insert(key.address, Known { seen: at, ..*known })),
                    None => unknown.push((key, block)),
                }
            }
            heap.blocks = kept;
        }
        unknown
    }

    /// Looks what has become of these by now.
    pub(super) fn look(&mut self, blocks: Blocks, now: u64) -> Fates {
        let mut fates = Fates::default();
        for (process, blocks) in by_process(blocks) {
            let Some(heap) = self.0.get_mut(&process) else { continue };
            let addresses: Vec<u64> = blocks.iter().map(|(key, _)| key.address).collect();
            // First: what is found in use after it was read was so then.
            let contents = contents(&heap.memory, &blocks);
            let Ok(states) = heap.reader.check(&addresses) else { continue };
            for (((key, block), content), state) in blocks.into_iter().zip(contents).zip(states) {
                let Some(known) = heap.blocks.get_mut(&key.address).filter(|known| known.born == block.born)
                else {
                    fates.unfollowed.push((key, block));
                    continue;
                };
                match state {
                    Liveness::Free => fates.freed.push((key, block, known.seen)),
                    Liveness::Live if content == Some(known.content) => known.seen = now,
                    Liveness::Unknown(_) if content == Some(known.content) => {}
                    Liveness::Live | Liveness::Unknown(_) => fates.unfollowed.push((key, block)),
                }
            }
        }
        fates
    }
}

fn by_process(blocks: Blocks) -> HashMap<ProcessId, Blocks> {
    let mut of: HashMap<ProcessId, Blocks> = HashMap::new();
    for (key, block) in blocks {
        of.entry(key.process).or_default().push((key, block));
    }
    of.values_mut().for_each(|blocks| blocks.sort_unstable_by_key(|(key, _)| key.address));
    of
}

/// A sum of each block's start; none where it cannot be read. The blocks are in order.
fn contents(memory: &impl ReadUser, blocks: &[(BlockKey, Block)]) -> Vec<Option<u64>> {
    let mut all = Vec::with_capacity(blocks.len());
    let mut piece = vec![0; READ];
    // Where the piece that was read begins; none if it could not be.
    let mut from = None;
    for (key, block) in blocks {
        let length = COMPARED.min(block.size as usize);
        let within = |from: u64| {
            let start = usize::try_from(key.address.checked_sub(from)?).ok()?;
            (start + length <= READ).then_some(start)
        };
        if from.and_then(within).is_none() {
            from = memory.read(key.address, &mut piece).then_some(key.address);
        }
        let mut alone = [0; COMPARED];
        let bytes = match from.and_then(within) {
            Some(start) => Some(&piece[start..start + length]),
            // Near the end of what is mapped.
            None => memory.read(key.address, &mut alone[..length]).then_some(&alone[..length]),
        };
        all.push(bytes.map(sum));
    }
    all
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
        let mut memory = Fixed((0..=255).cycle().take(READ + 4096).collect());
        let last = 0x1000 + READ as u64 + 4096 - 8;
        let blocks =
            [block(0x1000, 64), block(0x1040, 24), block(0x1000 + READ as u64 - 8, 100), block(last, 8)];
        let before = contents(&memory, &blocks);
        assert!(before.iter().all(Option::is_some));
        memory.0[READ] ^= 1;
        memory.0[0x40 + 24] ^= 1;
        let after = contents(&memory, &blocks);
        // The second one ends before the byte that changed.
        let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        assert_eq!(same, [true, true, false, true]);
    }

    #[test]
    fn what_cannot_be_read_has_no_content() {
        let memory = Fixed(vec![0; 64]);
        assert_eq!(contents(&memory, &[block(0x10, 8), block(0x1000, 64), block(0x1038, 64)])[0], None);
        assert_eq!(contents(&memory, &[block(0x1038, 64)]), [None]);
        assert!(contents(&memory, &[block(0x1038, 8)])[0].is_some());
    }
}
