//! What blocks hold, as a sum of each one's start.

use std::hash::{DefaultHasher, Hasher};

use leaktrace_common::live::{Block, BlockKey};

use crate::process::ReadUser;

/// As much of a block's start is compared, in bytes.
const COMPARED: u64 = 64;
/// So much is read at once.
const READ: u64 = 256 << 10;
/// No machine has smaller pages.
const LEAST_PAGE: u64 = 4096;

/// A sum of each block's start; none where it cannot be read. The blocks are in order.
///
/// Those that begin less than a page apart are read at once: then no page lies in between that is none of theirs, and nothing
/// of the process is touched that another mapping of it may mind, such as a device's.
pub(super) fn contents(memory: &impl ReadUser, blocks: &[(BlockKey, Block)]) -> Vec<Option<u64>> {
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
    use leaktrace_common::process::ProcessId;

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
    fn what_cannot_be_read_has_no_content() {
        let memory = Fixed(vec![0; 64]);
        let read = contents(&memory, &[block(0x10, 8), block(0x1000, 64), block(0x1038, 64)]);
        assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(contents(&memory, &[block(0x1038, 64)]), [None]);
        assert!(contents(&memory, &[block(0x1038, 8)])[0].is_some());
    }
}
