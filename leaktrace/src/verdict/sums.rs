//! What is known of the objects of one stack, or of all stacks below a frame, by the bin of their birth.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::timeline::BINS;

/// The most buckets of a histogram of ages at death.
pub(super) const BUCKETS: usize = 24;

/// Blocks that a mark of everything reachable did not reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    pub blocks: u64,
    pub bytes: u64,
    /// Scans in a row that did not reach them; the least of several stacks.
    pub scans: u32,
}

/// Survivors that were watched for reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    pub blocks: u64,
    /// Of those, the ones that were used.
    pub touched: u64,
}

/// Live blocks of one bin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) count: u64,
    /// Sums of their births and of the squares of those, see [`super::Block::births`].
    pub(super) births: f64,
    pub(super) births_squared: f64,
    /// Bytes; for sampled blocks of all that they stand for.
    pub(super) bytes: f64,
    /// Sum of the squares of each block's bytes, for the error of `bytes`.
    pub(super) squares: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) cells: [Cell; BINS],
    pub(super) births: [u64; BINS],
    pub(super) deaths: [u64; BUCKETS],
    /// Live blocks of all ages.
    pub(super) live: u64,
    /// Live blocks of stacks that allocated within two neighbouring bins and never again.
    pub(super) once: u64,
    /// Epochs that freed half or more of what lived, the most of any one stack.
    pub(super) collapses: u32,
    pub(super) stacks: u32,
    pub(super) unreachable: Unreachable,
    pub(super) watched: Watched,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            cells: [Cell::default(); BINS],
            births: [0; BINS],
            deaths: [0; BUCKETS],
            live: 0,
            once: 0,
            collapses: 0,
            stacks: 0,
            unreachable: Unreachable::default(),
            watched: Watched::default(),
        }
    }
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { cells, births, deaths, live, once, collapses, stacks, unreachable, watched } = other;
        for (mine, theirs) in self.cells.iter_mut().zip(cells) {
            *mine += *theirs;
        }
        for (mine, theirs) in self.births.iter_mut().zip(births) {
            *mine += theirs;
        }
        for (mine, theirs) in self.deaths.iter_mut().zip(deaths) {
            *mine += theirs;
        }
        self.live += live;
        self.once += once;
        self.collapses = self.collapses.max(*collapses);
        self.stacks += stacks;
        self.unreachable += *unreachable;
        self.watched.blocks += watched.blocks;
        self.watched.touched += watched.touched;
    }

    /// Live blocks born in these bins.
    pub(super) fn survivors(&self, from: usize, to: usize) -> u64 {
        self.cells[from..to].iter().map(|cell| cell.count).sum()
    }

    /// Births that blocks born in these bins count for.
    pub(super) fn births_of(&self, from: usize, to: usize) -> f64 {
        self.cells[from..to].iter().map(|cell| cell.births).sum()
    }

    /// How many births of these bins say as much as one that was seen by itself: those that stand for many say less.
    pub(super) fn births_as_one(&self, from: usize, to: usize) -> f64 {
        let births = self.births_of(from, to);
        let squared: f64 = self.cells[from..to].iter().map(|cell| cell.births_squared).sum();
        if births > 0.0 { squared / births } else { 1.0 }
    }

    /// Of this bucket and later ones.
    pub(super) fn deaths_from(&self, bucket: usize) -> u64 {
        self.deaths[bucket.min(BUCKETS)..].iter().sum()
    }
}

impl AddAssign for Cell {
    fn add_assign(&mut self, other: Self) {
        let Self { count, births, births_squared, bytes, squares } = other;
        self.count += count;
        self.births += births;
        self.births_squared += births_squared;
        self.bytes += bytes;
        self.squares += squares;
    }
}

impl AddAssign for Unreachable {
    fn add_assign(&mut self, other: Self) {
        self.scans = match (self.blocks, other.blocks) {
            (_, 0) => self.scans,
            (0, _) => other.scans,
            _ => self.scans.min(other.scans),
        };
        self.blocks += other.blocks;
        self.bytes += other.bytes;
    }
}
