//! Room for tables in memory that the kernel side reads while it is written.
//!
//! What is given up rests for a while before it is used again: a program that found the old place may still be
//! reading there.

use std::{collections::VecDeque, io, ops::Range, time::Duration};

use leaktrace_common::unwind::{self, ARENA_CHUNKS, CHUNK_WORDS, Ref};
use thiserror::Error;

/// The kernel's map of chunks, see `ARENA` of the kernel side.
pub trait Chunks {
    /// A chunk's memory, of [`CHUNK_WORDS`] words.
    type Chunk: AsMut<[u32]>;

    /// Adds a chunk, zeroed, under the next number: 0, 1 and so on.
    fn grow(&mut self) -> io::Result<Self::Chunk>;
}

/// How long given-up memory rests. A walk takes microseconds, a preempted one may take as long as its thread waits
/// for a CPU; and a forked child reads its parent's tables until the agent has made its own.
pub const REST: Duration = Duration::from_secs(10);

/// Places start at multiples of this many words: a rule has 4, and pairs are read as one.
const ALIGN: u32 = 4;

#[derive(Debug, Error)]
pub enum ArenaError {
    #[error("no memory for more unwind tables: {0}")]
    Grow(#[from] io::Error),
    #[error("unwind tables take more than 1 GiB")]
    Full,
    #[error("a table of {0} words does not fit a chunk")]
    TooLarge(usize),
}

/// A place that holds a table. Give it back with [`Arena::give_up`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its memory is lost unless it is given up"]
pub struct Span {
    place: Ref,
    words: u32,
}

impl Span {
    #[must_use]
    pub const fn place(&self) -> Ref {
        self.place
    }
}

struct Space<C> {
    memory: C,
    /// Sorted, apart from each other.
    free: Vec<Range<u32>>,
}

pub struct Arena<C: Chunks> {
    source: C,
    chunks: Vec<Space<C::Chunk>>,
    /// With the moment from which they are free again.
    resting: VecDeque<(Duration, Span)>,
}

impl<C: Chunks> Arena<C> {
    pub const fn new(source: C) -> Self {
        Self { source, chunks: Vec::new(), resting: VecDeque::new() }
    }

    /// Finds room for `table` and writes it there.
    ///
    /// # Errors
    /// If there is no more memory.
    pub fn place(&mut self, table: &[u32]) -> Result<Span, ArenaError> {
        if table.len() > CHUNK_WORDS {
            return Err(ArenaError::TooLarge(table.len()));
        }
        let words = (table.len() as u32).next_multiple_of(ALIGN).max(ALIGN);
        let found =
            self.chunks.iter_mut().zip(0..).find_map(|(chunk, number)| Some((chunk.take(words)?, number)));
        let (start, number) = match found {
            Some(found) => found,
            None if self.chunks.len() == ARENA_CHUNKS => return Err(ArenaError::Full),
            None => {
                let memory = self.source.grow()?;
                let mut space = Space { memory, free: Vec::new() };
                if words < CHUNK_WORDS as u32 {
                    space.put_back(words..CHUNK_WORDS as u32);
                }
                self.chunks.push(space);
                (0, self.chunks.len() as u32 - 1)
            }
        };
        let memory = self.chunks[number as usize].memory.as_mut();
        memory[start as usize..][..table.len()].copy_from_slice(table);
        Ok(Span { place: Ref::new(number, start), words })
    }

    /// Gives memory up that nothing published refers to any more.
    pub fn give_up(&mut self, span: Span, now: Duration) {
        self.resting.push_back((now + REST, span));
    }

    /// Makes memory free that has rested.
    pub fn settle(&mut self, now: Duration) {
        while let Some((_, span)) = self.resting.pop_front_if(|(free_from, _)| *free_from <= now) {
            let start = span.place.word();
            self.chunks[span.place.chunk() as usize].put_back(start..start + span.words);
        }
    }

    /// Bytes of all chunks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.chunks.len() * CHUNK_WORDS * 4
    }

    /// Bytes that hold tables or rest.
    #[must_use]
    pub fn used(&self) -> usize {
        let free: usize = self.chunks.iter().flat_map(|chunk| &chunk.free).map(ExactSizeIterator::len).sum();
        self.size() - free * 4
    }
}

/// The agent's own look at the tables, as the kernel side has it.
impl<'a, C: Chunks> unwind::Arena for &'a Arena<C>
where
    C::Chunk: AsRef<[u32]>,
{
    type Chunk = &'a [u32];

    fn chunk(self, place: Ref) -> Option<&'a [u32]> {
        Some(self.chunks.get(place.chunk() as usize)?.memory.as_ref())
    }

    fn word(chunk: &'a [u32], index: u32) -> u32 {
        chunk[index as usize % CHUNK_WORDS]
    }
}

impl<C> Space<C> {
    /// The first free range that is long enough, or its start.
    fn take(&mut self, words: u32) -> Option<u32> {
        let index = self.free.iter().position(|range| range.end - range.start >= words)?;
        let range = &mut self.free[index];
        let start = range.start;
        range.start += words;
        if range.start == range.end {
            self.free.remove(index);
        }
        Some(start)
    }

    fn put_back(&mut self, range: Range<u32>) {
        let index = self.free.partition_point(|other| other.start < range.start);
        self.free.insert(index, range);
        if self.free.get(index + 1).is_some_and(|next| next.start == self.free[index].end) {
            self.free[index].end = self.free.remove(index + 1).end;
        }
        if index > 0 && self.free[index - 1].end == self.free[index].start {
            self.free[index - 1].end = self.free.remove(index).end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Heap;

    impl Chunks for Heap {
        type Chunk = Vec<u32>;

        fn grow(&mut self) -> io::Result<Vec<u32>> {
            Ok(vec![0; CHUNK_WORDS])
        }
    }

    #[test]
    fn tables_never_cross_a_chunk() {
        let mut arena = Arena::new(Heap);
        let first = arena.place(&vec![1; CHUNK_WORDS - 8]).unwrap();
        let second = arena.place(&[2; 12]).unwrap();
        let third = arena.place(&[3; 8]).unwrap();
        assert_eq!(first.place(), Ref::new(0, 0));
        assert_eq!(second.place(), Ref::new(1, 0));
        assert_eq!(third.place(), Ref::new(0, CHUNK_WORDS as u32 - 8));
        assert!(matches!(arena.place(&vec![0; CHUNK_WORDS + 1]), Err(ArenaError::TooLarge(_))));
    }

    #[test]
    fn memory_is_used_again_only_after_it_has_rested() {
        let mut arena = Arena::new(Heap);
        let whole = arena.place(&vec![1; CHUNK_WORDS]).unwrap();
        arena.give_up(whole, Duration::ZERO);
        arena.settle(REST / 2);
        let elsewhere = arena.place(&[2]).unwrap();
        assert_eq!(elsewhere.place().chunk(), 1);
        arena.settle(REST);
        let again = arena.place(&[3]).unwrap();
        assert_eq!(again.place(), Ref::new(0, 0));
    }

    #[test]
    fn a_thousand_rounds_of_placing_and_giving_up_do_not_grow_it() {
        let mut arena = Arena::new(Heap);
        let mut held = VecDeque::new();
        for round in 0..1000u32 {
            let now = REST * round;
            arena.settle(now);
            held.push_back(arena.place(&vec![round; 1 + (round as usize * 7919) % 9000]).unwrap());
            if held.len() > 8 {
                arena.give_up(held.pop_front().unwrap(), now);
            }
        }
        assert!(arena.size() <= 3 * CHUNK_WORDS * 4, "{}", arena.size());
        for span in held {
            arena.give_up(span, REST * 1000);
        }
        arena.settle(REST * 1001);
        assert_eq!(arena.used(), 0);
    }
}
