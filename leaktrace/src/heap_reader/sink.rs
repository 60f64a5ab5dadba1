//! What takes the chunks that a walk finds.

use super::{
    SizeInUse,
    census::Census,
    chunk::{self, Chunk, ChunkState},
};

pub(super) trait Sink {
    fn chunk(&mut self, chunk: Chunk);
    /// A chunk that may have been told as in use, and is in a list of free ones that was read later.
    fn correct(&mut self, chunk: Chunk);
}

impl Sink for Census {
    fn chunk(&mut self, chunk: Chunk) {
        self.count(&chunk);
    }

    fn correct(&mut self, chunk: Chunk) {
        Self::correct(self, &chunk);
    }
}

/// All of them, by address as far as they are of arenas.
#[derive(Debug, Default)]
pub(super) struct All(pub(super) Vec<Chunk>);

impl Sink for All {
    fn chunk(&mut self, chunk: Chunk) {
        self.0.push(chunk);
    }

    fn correct(&mut self, chunk: Chunk) {
        if let Ok(number) = self.0.binary_search_by_key(&chunk.address, |known| known.address)
            && self.0[number].size == chunk.size
        {
            self.0[number] = chunk;
        }
    }
}

/// The states of some blocks, by address, and how many chunks of each size are in use.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    sorted: &'a [u64],
    found: Vec<Option<ChunkState>>,
    /// By sixteenths of their size.
    in_use: Vec<u32>,
}

impl<'a> Asked<'a> {
    /// Chunks of this size and above are not counted.
    const COUNTED: u64 = 64 << 10;

    pub(super) fn new(sorted: &'a [u64]) -> Self {
        Self { sorted, found: vec![None; sorted.len()], in_use: vec![0; (Self::COUNTED / 16) as usize] }
    }

    /// None where no chunk begins.
    pub(super) fn found(&self, address: u64) -> Option<ChunkState> {
        self.found[self.sorted.binary_search(&address).ok()?]
    }

    pub(super) fn in_use(&self) -> impl Iterator<Item = u64> {
        let states = self.sorted.iter().zip(&self.found);
        states.filter(|(_, state)| **state == Some(ChunkState::InUse)).map(|(address, _)| *address)
    }

    /// How many chunks of each size are in use, where so many more have mappings of their own.
    pub(super) fn sizes(&self, mapped: u64) -> Vec<SizeInUse> {
        // What would be left over of a free chunk may be too small for one of its own, and is given out with it: 16 bytes, or 32
        // where the block is aligned. So the largest sizes are not known.
        let known = self.in_use.windows(3).enumerate().skip(2).filter(|(_, counts)| counts[0] > 0);
        let at_most = |(at, counts): (usize, &[u32])| {
            let requests = chunk::requests_of(at as u64 * 16);
            let most = counts.iter().map(|count| u64::from(*count)).sum::<u64>() + mapped;
            SizeInUse { requests, most, usual: counts[0].into() }
        };
        known.map(at_most).collect()
    }

    fn mark(&mut self, chunk: Chunk) {
        let from = self.sorted.partition_point(|address| *address < chunk.address);
        let same = self.sorted[from..].iter().take_while(|address| **address == chunk.address).count();
        self.found[from..from + same].fill(Some(chunk.state));
    }

    fn count(&mut self, chunk: Chunk) -> Option<&mut u32> {
        self.in_use.get_mut((chunk.size / 16) as usize)
    }
}

impl Sink for Asked<'_> {
    fn chunk(&mut self, chunk: Chunk) {
        if chunk.state == ChunkState::InUse
            && let Some(count) = self.count(chunk)
        {
            *count = count.saturating_add(1);
        }
        self.mark(chunk);
    }

    fn correct(&mut self, chunk: Chunk) {
        if let Some(count) = self.count(chunk) {
            *count = count.saturating_sub(1);
        }
        self.mark(chunk);
    }
}
