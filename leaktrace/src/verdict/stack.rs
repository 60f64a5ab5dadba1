//! What is kept of one stack between epochs, and what is seen of it at the end of one.

use leaktrace_common::stack::StackId;

use super::{
    settings::{Moment, Settings},
    sums::{BUCKETS, Cell, Sums, Unreachable, Watched},
    timeline::{Timeline, merge_counts},
    trie::FrameId,
};
use crate::ledger::Totals;

/// A stack at the end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub stack: StackId,
    /// Outermost first. Read when the stack is new only; may be empty where [`super::Engine::knows`] it.
    pub frames: &'a [FrameId],
    /// Since tracing began; of samples where the heap is sampled.
    pub totals: Totals,
    /// Deaths since tracing began by age, in the buckets of [`Settings::ages`]. Shorter is padded with 0.
    pub deaths: &'a [u64],
    /// As the last scan had it: told again at each epoch until the next one, or a proof is a proof no more.
    pub unreachable: Unreachable,
    pub watched: Watched,
}

/// A live block of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Nanoseconds of `CLOCK_MONOTONIC`, or how many major collections were over.
    pub born: Moment,
    pub bytes: u64,
    /// How many blocks like it this sample stands for; 1 where everything is seen.
    pub weight: f64,
    /// For how many births it counts where times are compared with each other: as many as it stands for, where that differs
    /// from time to time; 1 where every birth is seen with the same chance.
    pub births: f64,
}

/// A fall of live blocks to less than this part of them within an epoch is a collapse.
const COLLAPSE: f64 = 0.5;
/// Fewer blocks come and go by chance.
const TELLING: u64 = 8;
/// Blocks from which a stack's births can be said to be of one time.
const FEWEST: u64 = 3;

#[derive(Debug, Default)]
pub(super) struct Leaf {
    births: Vec<u32>,
    totals: Totals,
    deaths: [u64; BUCKETS],
    collapses: u32,
    /// Live blocks by bin, of this epoch; bins without any are left out.
    cells: Vec<(u8, Cell)>,
    live: u64,
    unreachable: Unreachable,
    watched: Watched,
}

impl Leaf {
    /// Called for each stack before an epoch's numbers come: a stack that is not told of holds nothing.
    pub(super) fn begin(&mut self, merged: bool) {
        if merged {
            merge_counts(&mut self.births);
        }
        self.cells.clear();
        self.live = 0;
        self.unreachable = Unreachable::default();
        self.watched = Watched::default();
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>, blocks: impl Iterator<Item = Block>, time: &Timeline) {
        let Seen { stack: _, frames: _, totals, deaths, unreachable, watched } = *seen;
        let born = totals.allocs.saturating_sub(self.totals.allocs);
        let (before, after) = (self.totals.live().blocks, totals.live().blocks);
        self.collapses += u32::from(before >= TELLING && (after as f64) < COLLAPSE * before as f64);
        self.totals = totals;
        self.births.resize(time.bins().len(), 0);
        if let Some(last) = self.births.last_mut() {
            *last = last.saturating_add(u32::try_from(born).unwrap_or(u32::MAX));
        }
        self.deaths = [0; BUCKETS];
        for (at, count) in deaths.iter().enumerate() {
            self.deaths[at.min(BUCKETS - 1)] += count;
        }
        let mut cells = [Cell::default(); super::timeline::BINS];
        for Block { born, bytes, weight, births } in blocks {
            let cell = &mut cells[time.bin_of(born)];
            let bytes = bytes as f64 * weight;
            cell.count += 1;
            cell.births += births;
            cell.births_squared += births * births;
            cell.bytes += bytes;
            cell.squares += bytes * bytes;
            self.live += 1;
        }
        let filled = (0u8..).zip(cells).filter(|(_, cell)| cell.count > 0);
        self.cells.extend(filled);
        self.unreachable = unreachable;
        self.watched = watched;
    }

    pub(super) fn add_to(&self, sums: &mut Sums) {
        for (bin, cell) in &self.cells {
            sums.cells[usize::from(*bin)] += *cell;
        }
        for (mine, births) in sums.births.iter_mut().zip(&self.births) {
            *mine += u64::from(*births);
        }
        for (mine, deaths) in sums.deaths.iter_mut().zip(&self.deaths) {
            *mine += deaths;
        }
        sums.live += self.live;
        sums.once += if self.is_of_one_time() { self.live } else { 0 };
        sums.collapses = sums.collapses.max(self.collapses);
        sums.stacks += 1;
        sums.unreachable += self.unreachable;
        sums.watched.blocks += self.watched.blocks;
        sums.watched.touched += self.watched.touched;
    }

    /// Whether judging it alone can say anything.
    pub(super) fn is_material(&self, settings: &Settings) -> bool {
        self.live >= settings.suspect_survivors || self.unreachable.blocks > 0 || self.totals.frees >= 50
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn is_live(&self) -> bool {
        self.live > 0
    }

    fn is_of_one_time(&self) -> bool {
        let first = self.cells.first().map(|(bin, _)| *bin);
        let last = self.cells.last().map(|(bin, _)| *bin);
        self.live >= FEWEST && first.zip(last).is_some_and(|(first, last)| last - first <= 1)
    }
}
