//! Which stack leaks, how fast, how sure, and why; or what else its growth is.
//!
//! An [`Engine`] is one heap of one process. At the end of each [`Epoch`] it is told of every stack: counters, ages at
//! death, live blocks. It judges each stack and each frame that several stacks share, and gives [`Judgement`]s: a
//! [`Verdict`] with its [`Evidence`].
//!
//! # The rule
//!
//! Over a window from an onset to now, objects at least an eighth of the window old are counted as alive or dead, and
//! the live ones by when they were born, in eight periods of equal work.
//!
//! - T1 old objects do not die: their share is below 0.2, with a probability of 0.95. Always of all history.
//! - T2 growth is not slowing: the last three periods' rate is above half of the first three's, with 0.90; and what was
//!   born since does not say that it ended.
//! - T3 not only recent objects live: the same the other way round, above 0.33.
//! - T4 growth is spread: three quarters of the periods have survivors, none more than 45 % of them, and they are not
//!   mostly of stacks that allocated once.
//! - T5 it is enough to matter: 12 survivors for a suspicion, 50 for a leak, and surely more than a floor.
//!
//! All pass: SUSPECT. Four evaluations in a row, after 72 epochs since the onset in which the process was at work: LEAK,
//! which stands while nothing speaks against it and is taken back when a test fails. Blocks out of reach in three scans:
//! LEAK PROVEN, taken back when they are reached after all. A test that fails names what it is instead.
//!
//! Growth by itself says little, and the confidence says so: a cache that fills evenly for days is not to be told from
//! a leak by allocation data. `cargo xtask zoo` measures all of this, and `docs/verdict.md` has what it printed.
//!
//! # What was added to the rule as first drawn up, and why
//!
//! - *Ages are rounded up to where a histogram's bucket begins*, so that deaths are exact; survivors are cut at the same
//!   age. Interpolating in a bucket would guess at the one number that clears a cache.
//! - *Periods have exposures.* Bins do not divide into eight equal parts of work, least of all with the ten bins of
//!   ten collections. Rates per work are compared instead of counts.
//! - *What was born after the survivors tells of an end* ([`Evidence::going_on`]). Survivors' births reach to an eighth of
//!   the window ago: a cache that filled for 25 minutes and stopped would be a LEAK at 36.
//! - *LEAK needs 72 epochs since the onset*, 36 minutes; the longest fill in the zoo is 25. After 15 minutes 13.4 % of the
//!   zoo's hours without a leak would have been called one, after 20 7.7 %, after 30 none (`docs/verdict.md`, how long to
//!   look). By major collections the same time and 9 collections: as many collections alone may be half of the time.
//! - *Idle time is no evidence.* By what a process does, a cache that is full while nothing goes on never stopped. So
//!   epochs count by how busy they were, T2 is open where next to nothing was done of late, a process that ended is not
//!   judged on, and a heap that is not collected any more is not suspected any more.
//! - *Work is what others allocate*: everything but the survivors that are judged. Measured by its own allocations too, a
//!   cache that is most of a program would never seem to slow down; where there is little else, time at work counts.
//! - *A verdict goes to the frame that nine tenths of it are at*, however it passed.
//! - *Three outcomes.* A test passes, fails, or is open; non-leaks are named, and leaks taken back, by failures only.
//!   Otherwise a verdict would come and go with chance.
//! - *Objects count once.* What passes or is refuted on 50 objects is taken out before frames further up are judged
//!   (see `walk`).
//! - *Loss counts over the whole window too*: a lost free survives for ever, not for an epoch.

mod confidence;
mod consecutive;
mod engine;
mod evidence;
mod heap_diff;
mod judge;
mod no_state;
mod probability;
mod settings;
mod stack;
mod stack_name;
mod sums;
mod suppressions;
mod timeline;
mod trie;
mod verified;
mod walk;

pub use consecutive::{Consecutive, HeapGrowth, HeapSize};
pub use engine::{Ending, Engine};
pub use evidence::{
    Called, Confidence, Evidence, Judgement, Lacking, Outcome, Rate, Refuted, Spread, Test, Tested, Verdict,
};
pub use heap_diff::{Change, Changed, ChangedStack, HeapDiff, HeapMoment, Point, size_class};
pub use no_state::NoState;
pub use settings::{Age, Ages, HeapKind, LEAK_EPOCHS, Moment, Settings};
pub use stack::{Block, Seen};
pub use stack_name::{stack_name, stack_of_name};
pub use sums::{Unreachable, Watched};
pub use suppressions::{Named, Pattern, Suppressions, Unreadable};
pub use timeline::Epoch;
pub use trie::{FrameId, NodeId};
pub use verified::{Checked, Verified};

#[cfg(test)]
mod tests;
