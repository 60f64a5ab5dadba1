//! Free blocks that a walk takes for used ones: those in threads' own lists and in fastbins keep the marks of use.

use std::{cell::OnceCell, collections::BTreeMap, ops::Range};

use super::{
    arena::Arena,
    chunk::{self, ChunkState, HEADER},
    find::Data,
    layout::{Counts, Key, Layout, SMALL_TCACHE_BINS},
    words::{pair, quarter, word},
};
use crate::process::ReadUser;

/// A list that changes while it is read is begun again so often.
const TRIES: usize = 4;

/// More than any heap has of one size; a list that leads in a circle ends here.
const LONGEST_LIST: usize = 1 << 24;

/// Free chunks by the address of their headers: their sizes, and which list they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FreeLists {
    pub(super) chunks: BTreeMap<u64, (u64, ChunkState)>,
    /// Lists that changed each time they were read: not all of them may be here.
    pub(super) torn: u64,
}

/// Reads lists of one process.
#[derive(Debug)]
pub(super) struct Lists<'a, M> {
    memory: &'a M,
    layout: &'a Layout,
    /// Where malloc's variables are. They are read if the key is to be found among them, and not kept: of each of a
    /// thousand processes that would be much.
    data: &'a [Range<u64>],
    read: OnceCell<Data>,
    /// `tcache_key`, once a block has shown it.
    key: &'a mut Option<u64>,
}

impl<'a, M: ReadUser> Lists<'a, M> {
    pub(super) fn new(
        memory: &'a M,
        layout: &'a Layout,
        data: &'a [Range<u64>],
        key: &'a mut Option<u64>,
    ) -> Self {
        Self { memory, layout, data, read: OnceCell::new(), key }
    }

    /// Threads' lists are read before the fastbins and after them: blocks move both ways.
    pub(super) fn read(&mut self, arenas: &[Arena], tcaches: &[u64]) -> FreeLists {
        let mut lists = FreeLists::default();
        self.tcaches(tcaches, &mut lists);
        for arena in arenas {
            self.fastbins(arena, &mut lists);
        }
        self.tcaches(tcaches, &mut lists);
        lists
    }

    /// Whether a thread's structure is at `address`, which is read into `bytes`. One without any block is as good as
    /// none.
    pub(super) fn is_tcache(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        (0..TRIES).any(|_| self.memory.read(address, bytes) && self.has_lists(address, bytes))
    }

    fn has_lists(&mut self, address: u64, bytes: &[u8]) -> bool {
        let entries = self.layout.tcache.entries();
        let mut any = false;
        for bin in 0..self.layout.tcache.bins {
            match (self.count(bytes, bin), word(bytes, entries + bin * 8)) {
                (_, None) => return false,
                // Its thread may be just about to write the second of them.
                (count, Some(0)) if count.is_none_or(|count| count <= 1) => {}
                (_, Some(0)) => return false,
                (_, Some(block)) if self.node(address, bin, block).is_none() => return false,
                (_, Some(_)) => any = true,
            }
        }
        any
    }

    /// Blocks in a list, where their number is kept.
    fn count(&self, bytes: &[u8], bin: usize) -> Option<u16> {
        match self.layout.tcache.counts {
            Counts::Bytes => bytes.get(bin).map(|count| u16::from(*count)),
            Counts::Words => quarter(bytes, bin * 2),
            Counts::Slots => None,
        }
    }

    fn tcaches(&mut self, tcaches: &[u64], lists: &mut FreeLists) {
        let mut bytes = vec![0; self.layout.tcache.size()];
        let entries = self.layout.tcache.entries();
        for tcache in tcaches {
            // Its memory is there: it was just taken for one.
            self.memory.read(*tcache, &mut bytes);
            for bin in 0..self.layout.tcache.bins {
                let place = entries + bin * 8;
                let head = word(&bytes, place).unwrap_or(0);
                self.tcache_bin(*tcache, bin, *tcache + place as u64, head, lists);
            }
        }
    }

    fn tcache_bin(&mut self, tcache: u64, bin: usize, place: u64, head: u64, lists: &mut FreeLists) {
        let mut head = head;
        for _ in 0..TRIES {
            let mut at = head;
            for _ in 0..LONGEST_LIST {
                if at == 0 {
                    return;
                }
                let Some((size, next)) = self.node(tcache, bin, at) else { break };
                lists.chunks.insert(at - HEADER, (size, ChunkState::InTcache));
                at = next;
            }
            let Some((now, _)) = pair(self.memory, place) else { return };
            head = now;
        }
        lists.torn += 1;
    }

    /// Size and successor of a block in a thread's list.
    fn node(&mut self, tcache: u64, bin: usize, block: u64) -> Option<(u64, u64)> {
        if !block.is_multiple_of(16) || block < HEADER {
            return None;
        }
        let (_, size) = pair(self.memory, block - HEADER)?;
        let size = chunk::size_of(size);
        let fits = match bin < SMALL_TCACHE_BINS {
            true => size == chunk::SMALLEST + bin as u64 * 16,
            false => size >= chunk::SMALLEST + SMALL_TCACHE_BINS as u64 * 16,
        };
        let (next, key) = pair(self.memory, block)?;
        let marked = match (self.layout.tcache.key, *self.key) {
            (Key::None, _) => true,
            (Key::Own, _) => key == tcache,
            (Key::Random, Some(known)) => key == known,
            (Key::Random, None) => {
                let data = || self.read.get_or_init(|| Data::read(self.memory, self.data));
                let found = fits && key != 0 && data().holds(key);
                *self.key = found.then_some(key);
                found
            }
        };
        (fits && marked).then(|| (size, self.revealed(block, next)))
    }

    fn fastbins(&mut self, arena: &Arena, lists: &mut FreeLists) {
        let Some(place) = self.layout.state.fastbins else { return };
        for (bin, first) in arena.fastbins.iter().enumerate() {
            let mut head = *first;
            let mut done = false;
            for _ in 0..TRIES {
                done = self.fastbin(head, bin, lists);
                let at = arena.address + (place + bin * 8) as u64;
                match pair(self.memory, at) {
                    Some((now, _)) if !done => head = now,
                    _ => break,
                }
            }
            lists.torn += u64::from(!done);
        }
    }

    /// Whether the list could be read to its end.
    fn fastbin(&mut self, head: u64, bin: usize, lists: &mut FreeLists) -> bool {
        let mut at = head;
        for _ in 0..LONGEST_LIST {
            if at == 0 {
                return true;
            }
            let node = || {
                let (_, size) = at.is_multiple_of(16).then(|| pair(self.memory, at))??;
                let (next, _) = pair(self.memory, at + HEADER)?;
                let size = chunk::size_of(size);
                (size == chunk::SMALLEST + bin as u64 * 16).then_some((size, next))
            };
            let Some((size, next)) = node() else { return false };
            lists.chunks.insert(at, (size, ChunkState::InFastbin));
            at = self.revealed(at + HEADER, next);
        }
        false
    }

    fn revealed(&self, place: u64, pointer: u64) -> u64 {
        if self.layout.mixed_pointers { place >> 12 ^ pointer } else { pointer }
    }
}
