//! A stack's numbers: written when they are others than at the moment before.
//!
//! Ages grow by themselves, and do not count as a change.

use super::{
    columns::{Batch, Rows},
    error::Malformed,
    stacks::moved,
    strings::Strings,
};
use crate::{
    report::{Estimate, Generation, SizeRange, Stack, Totals, Type},
    verdict::{Change, Changed, ChangedStack},
};

/// What of a stack changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) totals: Totals,
    /// Whether it has an oldest and a middle block; how old they are is kept apart.
    pub(super) has_oldest: bool,
    pub(super) has_median: bool,
    pub(super) sizes: Vec<SizeRange>,
    pub(super) error_bytes: Option<u64>,
    /// Of JavaScript: names by their places in the recording's list.
    pub(super) types: Vec<(u32, Estimate)>,
    pub(super) generations: Vec<Generation>,
    /// Its part in the report's difference.
    pub(super) difference: Option<Difference>,
}

/// What a row says of the ages of the oldest live block and of the middle one. By how much that one is younger is in
/// nanoseconds; none where there is no such block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    pub(super) oldest: Oldest,
    pub(super) younger: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oldest {
    /// The one of before.
    Same,
    /// Another one, of this age in nanoseconds; none where nothing lives.
    Now(Option<u64>),
}

/// What of its ages a stack has in common with the moment before, once the time since is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    Both,
    Oldest,
    Neither,
}

/// A [`ChangedStack`]; names by their places in the recording's list.
pub(super) type Difference = DifferenceOf<u32>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DifferenceOf<K> {
    pub(super) change: Change,
    pub(super) types: Vec<Changed<K>>,
}

mod column {
    pub(super) const ID: usize = 0;
    pub(super) const HAS: usize = 1;
    pub(super) const LIVE_BLOCKS: usize = 2;
    pub(super) const LIVE_BYTES: usize = 3;
    pub(super) const FREES: usize = 4;
    pub(super) const FREED_BYTES: usize = 5;
    pub(super) const ALLOCS_MORE: usize = 6;
    pub(super) const ALLOC_BYTES_MORE: usize = 7;
    pub(super) const OLDEST: usize = 8;
    pub(super) const YOUNGER: usize = 9;
    pub(super) const ERROR: usize = 10;
    pub(super) const SIZES: usize = 11;
    pub(super) const SIZE: usize = 12;
    pub(super) const SIZE_COUNT: usize = 13;
    pub(super) const SIZE_ODD: usize = 14;
    pub(super) const TYPES: usize = 15;
    pub(super) const TYPE: usize = 16;
    pub(super) const GENERATIONS: usize = 17;
    pub(super) const GENERATION: usize = 18;
    pub(super) const ESTIMATE: usize = 19;
    pub(super) const CHANGED: usize = 20;
    pub(super) const CHANGED_TYPE: usize = 21;
    pub(super) const CHANGED_NUMBERS: usize = 22;
    pub(super) const ALL: usize = 23;
}

/// What [`column::HAS`] says.
mod has {
    pub(super) const OLDEST: u64 = 1;
    pub(super) const MEDIAN: u64 = 2;
    pub(super) const ERROR: u64 = 4;
    pub(super) const DIFFERENCE: u64 = 8;
    /// One of one type, which is everything live: only its name follows.
    pub(super) const ALL_OF_IT: u64 = 16;
    /// Neither types nor generations.
    pub(super) const NATIVE: u64 = 32;
    /// Both ages are those of before and the time since.
    pub(super) const SAME_AGES: u64 = 64;
    /// That of the oldest block is, the other one is not. Not in version 1.
    pub(super) const SAME_OLDEST: u64 = 128;
}

/// Rows of changes; ids are told by what they differ from the row before.
#[derive(Debug)]
pub(super) struct Changes {
    batch: Batch<{ column::ALL }>,
    before: u32,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self { batch: Batch::new(), before: 0 }
    }

    pub(super) fn add(
        &mut self,
        id: u32,
        stack: &Stack,
        same: Same,
        difference: Option<&ChangedStack>,
        strings: &mut Strings,
    ) {
        let Totals { live_bytes, live_blocks, allocs, alloc_bytes, frees, freed_bytes } = stack.totals;
        let batch = &mut self.batch;
        batch.row();
        batch.put_signed(column::ID, i64::from(id) - i64::from(self.before));
        self.before = id;
        let everything = difference.and_then(|changed| all_of(stack.totals, changed));
        let flag = |is: bool, flag: u64| if is { flag } else { 0 };
        batch.put(
            column::HAS,
            flag(stack.oldest_age_ns.is_some(), has::OLDEST)
                | flag(stack.median_age_ns.is_some(), has::MEDIAN)
                | flag(stack.error_bytes.is_some(), has::ERROR)
                | flag(difference.is_some(), has::DIFFERENCE)
                | flag(everything.is_some(), has::ALL_OF_IT)
                | flag(stack.types.is_empty() && stack.generations.is_empty(), has::NATIVE)
                | flag(same == Same::Both, has::SAME_AGES)
                | flag(same == Same::Oldest, has::SAME_OLDEST),
        );
        batch.put(column::LIVE_BLOCKS, live_blocks);
        batch.put(column::LIVE_BYTES, live_bytes);
        batch.put(column::FREES, frees);
        batch.put(column::FREED_BYTES, freed_bytes);
        // What is live was allocated and not freed, where nothing is an estimate.
        batch.put_signed(column::ALLOCS_MORE, less(allocs, live_blocks.wrapping_add(frees)));
        batch.put_signed(column::ALLOC_BYTES_MORE, less(alloc_bytes, live_bytes.wrapping_add(freed_bytes)));
        let (oldest, median) = (stack.oldest_age_ns, stack.median_age_ns);
        if same == Same::Neither {
            oldest.into_iter().for_each(|age| batch.put(column::OLDEST, age));
        }
        if same != Same::Both {
            let younger = median.map(|median| less(oldest.unwrap_or_default(), median));
            younger.into_iter().for_each(|younger| batch.put_signed(column::YOUNGER, younger));
        }
        stack.error_bytes.into_iter().for_each(|error| batch.put(column::ERROR, error));
        batch.put(column::SIZES, stack.sizes.len() as u64);
        for range in &stack.sizes {
            size(batch, *range);
        }
        if !(stack.types.is_empty() && stack.generations.is_empty()) {
            batch.put(column::TYPES, stack.types.len() as u64);
            for Type { name, live } in &stack.types {
                batch.put(column::TYPE, strings.id(name).into());
                estimate(batch, *live);
            }
            batch.put(column::GENERATIONS, stack.generations.len() as u64);
            for Generation { from, to, live } in &stack.generations {
                batch.put(column::GENERATION, u64::from(*from));
                batch.put(column::GENERATION, u64::from(*to));
                estimate(batch, *live);
            }
        }
        match (everything, difference) {
            (Some(what), _) => batch.put(column::CHANGED_TYPE, strings.id(what).into()),
            (None, Some(ChangedStack { stack: _, change, types })) => {
                batch.put_signed(column::CHANGED_NUMBERS, change.blocks);
                batch.put_signed(column::CHANGED_NUMBERS, change.bytes);
                batch.put(column::CHANGED, types.len() as u64);
                for Changed { what, change, after_blocks, after_bytes } in types {
                    batch.put(column::CHANGED_TYPE, strings.id(what).into());
                    batch.put_signed(column::CHANGED_NUMBERS, change.blocks);
                    batch.put_signed(column::CHANGED_NUMBERS, change.bytes);
                    batch.put(column::CHANGED_NUMBERS, *after_blocks);
                    batch.put(column::CHANGED_NUMBERS, *after_bytes);
                }
            }
            (None, None) => {}
        }
    }

    pub(super) fn size(&self) -> usize {
        self.batch.size()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.before = 0;
        self.batch.take()
    }

    /// Reads rows; without ages where the blocks are those of before.
    pub(super) fn each(
        bytes: &[u8],
        mut with: impl FnMut(u32, Option<Ages>, Numbers) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut rows = Rows::<{ column::ALL }>::of(bytes)?;
        let mut id = 0;
        while rows.row() {
            id = moved(id, rows.get_signed(column::ID)?)?;
            let (ages, numbers) = read(&mut rows)?;
            with(id, ages, numbers)?;
        }
        Ok(())
    }
}

/// The ages, where they are others, and everything else.
fn read(rows: &mut Rows<'_, { column::ALL }>) -> Result<(Option<Ages>, Numbers), Malformed> {
    let flags = rows.get(column::HAS)?;
    let has = |flag: u64| flags & flag != 0;
    let (live_blocks, live_bytes) = (rows.get(column::LIVE_BLOCKS)?, rows.get(column::LIVE_BYTES)?);
    let (frees, freed_bytes) = (rows.get(column::FREES)?, rows.get(column::FREED_BYTES)?);
    let more =
        |more: i64, known: [u64; 2]| known[0].wrapping_add(known[1]).wrapping_add(more.cast_unsigned());
    let allocs = more(rows.get_signed(column::ALLOCS_MORE)?, [live_blocks, frees]);
    let alloc_bytes = more(rows.get_signed(column::ALLOC_BYTES_MORE)?, [live_bytes, freed_bytes]);
    let totals = Totals { live_bytes, live_blocks, allocs, alloc_bytes, frees, freed_bytes };
    let ages = if has(has::SAME_AGES) {
        None
    } else {
        let oldest = match () {
            () if has(has::SAME_OLDEST) => Oldest::Same,
            () if has(has::OLDEST) => Oldest::Now(Some(rows.get(column::OLDEST)?)),
            () => Oldest::Now(None),
        };
        let younger = if has(has::MEDIAN) { Some(rows.get_signed(column::YOUNGER)?) } else { None };
        Some(Ages { oldest, younger })
    };
    let error_bytes = if has(has::ERROR) { Some(rows.get(column::ERROR)?) } else { None };
    let (has_oldest, has_median) = (has(has::OLDEST), has(has::MEDIAN));
    let mut numbers = Numbers { totals, has_oldest, has_median, error_bytes, ..Numbers::default() };
    for _ in 0..rows.get_count(column::SIZES, column::SIZE)? {
        numbers.sizes.push(read_size(rows)?);
    }
    if !has(has::NATIVE) {
        for _ in 0..rows.get_count(column::TYPES, column::TYPE)? {
            numbers.types.push((rows.get_u32(column::TYPE)?, read_estimate(rows)?));
        }
        for _ in 0..rows.get_count(column::GENERATIONS, column::GENERATION)? {
            let (from, to) = (rows.get_u32(column::GENERATION)?, rows.get_u32(column::GENERATION)?);
            numbers.generations.push(Generation { from, to, live: read_estimate(rows)? });
        }
    }
    if has(has::DIFFERENCE) {
        let difference = if has(has::ALL_OF_IT) {
            all_live(totals, rows.get_u32(column::CHANGED_TYPE)?)
        } else {
            read_difference(rows)?
        };
        numbers.difference = Some(difference);
    }
    Ok((ages, numbers))
}

fn read_difference(rows: &mut Rows<'_, { column::ALL }>) -> Result<Difference, Malformed> {
    let change = read_change(rows)?;
    let mut types = Vec::new();
    for _ in 0..rows.get_count(column::CHANGED, column::CHANGED_TYPE)? {
        let (what, change) = (rows.get_u32(column::CHANGED_TYPE)?, read_change(rows)?);
        let (after_blocks, after_bytes) =
            (rows.get(column::CHANGED_NUMBERS)?, rows.get(column::CHANGED_NUMBERS)?);
        types.push(Changed { what, change, after_blocks, after_bytes });
    }
    Ok(Difference { change, types })
}

fn read_change(rows: &mut Rows<'_, { column::ALL }>) -> Result<Change, Malformed> {
    let (blocks, bytes) =
        (rows.get_signed(column::CHANGED_NUMBERS)?, rows.get_signed(column::CHANGED_NUMBERS)?);
    Ok(Change { blocks, bytes })
}

/// The name of the one type, if the change is that what is live now was not before.
fn all_of(totals: Totals, changed: &ChangedStack) -> Option<&str> {
    let [one] = &changed.types[..] else { return None };
    let all = all_live(totals, ());
    let is_all = all.change == changed.change
        && all.types.iter().all(|all| {
            all.change == one.change
                && (all.after_blocks, all.after_bytes) == (one.after_blocks, one.after_bytes)
        });
    is_all.then_some(&one.what)
}

fn all_live<K>(totals: Totals, what: K) -> DifferenceOf<K> {
    let Totals { live_blocks, live_bytes, .. } = totals;
    let change = Change { blocks: live_blocks.cast_signed(), bytes: live_bytes.cast_signed() };
    let one = Changed { what, change, after_blocks: live_blocks, after_bytes: live_bytes };
    DifferenceOf { change, types: vec![one] }
}

fn less(one: u64, other: u64) -> i64 {
    one.wrapping_sub(other).cast_signed()
}

/// A range of a power of two is told by that; another one (there is none today) by both of its ends.
fn size(batch: &mut Batch<{ column::ALL }>, range: SizeRange) {
    let power = u64::from(range.from.checked_ilog2().unwrap_or_default());
    let is_usual = power < 63 && (range.from, range.to) == usual_range(power);
    batch.put(column::SIZE, if is_usual { power } else { ODD_SIZE });
    if !is_usual {
        batch.put(column::SIZE_ODD, range.from);
        batch.put(column::SIZE_ODD, range.to);
    }
    batch.put(column::SIZE_COUNT, range.count);
}

const ODD_SIZE: u64 = 63;

/// The first range is from 0 on, for which there is no power.
const fn usual_range(power: u64) -> (u64, u64) {
    if power == 0 { (0, 15) } else { (1 << power, (2 << power) - 1) }
}

fn read_size(rows: &mut Rows<'_, { column::ALL }>) -> Result<SizeRange, Malformed> {
    let (from, to) = match rows.get(column::SIZE)? {
        ODD_SIZE => (rows.get(column::SIZE_ODD)?, rows.get(column::SIZE_ODD)?),
        power @ 0..ODD_SIZE => usual_range(power),
        _ => return Err(Malformed("a range of sizes")),
    };
    Ok(SizeRange { from, to, count: rows.get(column::SIZE_COUNT)? })
}

fn estimate(batch: &mut Batch<{ column::ALL }>, live: Estimate) {
    let Estimate { bytes, error_bytes, samples } = live;
    for number in [bytes, error_bytes, samples] {
        batch.put(column::ESTIMATE, number);
    }
}

fn read_estimate(rows: &mut Rows<'_, { column::ALL }>) -> Result<Estimate, Malformed> {
    let mut next = || rows.get(column::ESTIMATE);
    Ok(Estimate { bytes: next()?, error_bytes: next()?, samples: next()? })
}
