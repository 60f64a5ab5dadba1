//! Programs that leak and programs that do not, simulated, and how well rules tell them apart.
//!
//! A [`class`] makes the objects of an hour of one program from a seed: where each was allocated, when, and when it
//! is freed. The hour is watched as leaktrace would watch it ([`watch`]), by epochs of 30 seconds or by major
//! collections, and judged by `leaktrace::verdict`, and by other tools' rules ([`rivals`]) from the same objects.
//!
//! Seeds below [`JUDGING`] are for tuning the rule; those from it on are for judging it, and nothing is chosen by
//! what comes out for them.

pub mod class;
pub mod hour;
pub mod rivals;
pub mod scale;
pub mod score;
pub mod table;
pub mod watch;

/// The first seed for judging.
pub const JUDGING: u64 = 1_000_000;
