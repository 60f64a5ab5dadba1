//! What takes the chunks that a walk finds.

use super::{
    census::Census,
    chunk::{Chunk, ChunkState},
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

/// The states of some blocks, by address.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    sorted: &'a [u64],
    found: Vec<Option<ChunkState>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(sorted: &'a [u64]) -> Self {
        Self { sorted, found: vec![None; sorted.len()] }
    }

    /// None where no chunk begins.
    pub(super) fn found(&self, address: u64) -> Option<ChunkState> {
        self.found[self.sorted.binary_search(&address).ok()?]
    }

    pub(super) fn in_use(&self) -> impl Iterator<Item = u64> {
        let states = self.sorted.iter().zip(&self.found);
        states.filter(|(_, state)| **state == Some(ChunkState::InUse)).map(|(address, _)| *address)
    }
}

impl Sink for Asked<'_> {
    fn chunk(&mut self, chunk: Chunk) {
        self.correct(chunk);
    }

    fn correct(&mut self, chunk: Chunk) {
        let from = self.sorted.partition_point(|address| *address < chunk.address);
        let same = self.sorted[from..].iter().take_while(|address| **address == chunk.address).count();
        self.found[from..from + same].fill(Some(chunk.state));
    }
}
