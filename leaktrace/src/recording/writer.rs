//! Writes a recording: at each moment what is new or has changed since the one before.
//!
//! Of what was written the writer keeps what it needs to know changes by, not the contents: 56 bytes a stack (its key,
//! its number and two digests), 32 a frame; a hash table has up to twice that. A digest of 64 bits of one stack's numbers is
//! the same for others by one chance in 10^19; frames are told from all others by 128 bits.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    io::{self, Write},
};

use leaktrace_common::stack::StackId;

use super::{
    ages::{Clock, Kept},
    block::{self, Kind, Packer, VERSION},
    changes::{Changes, Same},
    moment::{At, Begin, Cycles, append},
    reader::running,
    stacks::{Key, Stacks, Still, kind_of_name},
    strings::Strings,
};
use crate::{
    report::{Frame, Process, Report, Stack},
    verdict::{ChangedStack, stack_of_name},
};

/// A recording that is being written.
pub struct Writer {
    packer: Packer,
    tables: Tables,
    /// Nothing was written yet, or what was cannot be built upon.
    is_new: bool,
    has_header: bool,
}

/// What is known to be in the file.
#[derive(Default)]
struct Tables {
    strings: Strings,
    frames: HashMap<u128, u32>,
    stacks: HashMap<Key, Known>,
    next_stack: u32,
    /// Digests of these lists' members.
    processes: Vec<u64>,
    verdicts: Vec<u64>,
    /// How many collections of each process were told.
    collections: HashMap<u32, u64>,
    moments: u32,
}

struct Known {
    id: u32,
    /// The last moment that had it.
    seen: u32,
    still: u64,
    numbers: u64,
    kept: Kept,
}

impl Writer {
    /// # Errors
    /// Without memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new()?, tables: Tables::default(), is_new: true, has_header: false })
    }

    /// Writes what the report has beyond the one before. `out` is not flushed.
    ///
    /// # Errors
    /// Those of `out`. Then nothing of this moment is to stay in the file; the next one has everything in it.
    pub fn moment(&mut self, report: &Report, is_last: bool, out: &mut dyn Write) -> io::Result<()> {
        let (number, has_header) = (self.packer.number(), self.has_header);
        let written = self.write(report, is_last, out);
        if written.is_err() {
            self.packer.back_to(number);
            (self.tables, self.is_new, self.has_header) = (Tables::default(), true, has_header);
        }
        written
    }

    fn write(&mut self, report: &Report, is_last: bool, out: &mut dyn Write) -> io::Result<()> {
        if !self.has_header {
            out.write_all(&block::header(VERSION))?;
            self.has_header = true;
        }
        let mut moment = Moment { packer: &mut self.packer, tables: &mut self.tables, out };
        if std::mem::take(&mut self.is_new) && moment.packer.number() > 0 {
            moment.packer.write(Kind::Anew, &[], moment.out)?;
        }
        moment.write(report, is_last)
    }
}

/// One moment on its way into the file.
struct Moment<'a> {
    packer: &'a mut Packer,
    tables: &'a mut Tables,
    out: &'a mut dyn Write,
}

impl Moment<'_> {
    fn write(&mut self, report: &Report, is_last: bool) -> io::Result<()> {
        self.tables.moments += 1;
        let order = order(report)?;
        let (differences, elsewhere) = differences(report, &order);
        let mut begin = Vec::new();
        append(&mut begin, &Begin::of(report, elsewhere))?;
        self.block(Kind::Begin, &begin)?;
        self.processes(&report.processes)?;
        let verdicts = std::mem::take(&mut self.tables.verdicts);
        self.tables.verdicts = self.list(Kind::Verdicts, verdicts, &report.verdicts, |_| ())?;
        let frames = self.frames(&report.frames)?;
        self.stacks(&order, &frames)?;
        self.changes(report, &order, &differences)?;
        self.gone(order.len())?;
        self.block(if is_last { Kind::Last } else { Kind::End }, &[])
    }

    fn block(&mut self, kind: Kind, unpacked: &[u8]) -> io::Result<()> {
        self.packer.write(kind, unpacked, self.out).map(drop)
    }

    /// Writes what was gathered if it is so much, and leaves nothing of it.
    fn spill(&mut self, kind: Kind, bytes: &mut Vec<u8>, least: usize) -> io::Result<()> {
        if bytes.len() < least { Ok(()) } else { self.block(kind, &std::mem::take(bytes)) }
    }

    /// Strings that rows name come before these.
    fn rows(&mut self, kind: Kind, rows: &[u8]) -> io::Result<()> {
        let strings = self.tables.strings.take()?;
        if !strings.is_empty() {
            self.block(Kind::Strings, &strings)?;
        }
        self.block(kind, rows)
    }

    /// Writes those of a list that are others than at their place before, and returns the digests of all.
    fn list<T: serde::Serialize + Clone>(
        &mut self,
        kind: Kind,
        mut known: Vec<u64>,
        list: &[T],
        bare: impl Fn(&mut T),
    ) -> io::Result<Vec<u64>> {
        let mut bytes = Vec::new();
        known.truncate(list.len());
        for (place, one) in list.iter().enumerate() {
            let mut is = one.clone();
            bare(&mut is);
            let start = bytes.len();
            append(&mut bytes, &At { place, is })?;
            let digest = digest(&bytes[start..]);
            if known.get(place) == Some(&digest) {
                bytes.truncate(start);
                continue;
            }
            if place < known.len() {
                known[place] = digest;
            } else {
                known.push(digest);
            }
            self.spill(kind, &mut bytes, block::FULL)?;
        }
        self.spill(kind, &mut bytes, 1).map(|()| known)
    }

    /// Processes; of their collections only those that came since.
    fn processes(&mut self, processes: &[Process]) -> io::Result<()> {
        let known = std::mem::take(&mut self.tables.processes);
        self.tables.processes = self.list(Kind::Processes, known, processes, |process| {
            if let Some(javascript) = &mut process.javascript {
                javascript.collections.clear();
            }
        })?;
        let mut bytes = Vec::new();
        for process in processes {
            let Some(javascript) = &process.javascript else { continue };
            let latest = javascript.collections.len();
            let all = javascript.collections_left_out + latest as u64;
            let told = self.tables.collections.insert(process.process, all).unwrap_or_default();
            let new = usize::try_from(all.saturating_sub(told)).map_or(latest, |new| new.min(latest));
            if new > 0 {
                let new = javascript.collections[latest - new..].iter().cloned().collect();
                append(&mut bytes, &Cycles { process: process.process, latest, new })?;
            }
        }
        self.spill(Kind::Cycles, &mut bytes, 1)
    }

    /// The frames' numbers in the file.
    fn frames(&mut self, frames: &[Frame]) -> io::Result<Vec<u32>> {
        let (mut ids, mut bytes) = (Vec::with_capacity(frames.len()), Vec::new());
        // Two files of one path may have the same function at the same place: two frames, and no difference to see.
        let mut alike: HashMap<u128, u32> = HashMap::with_capacity(frames.len());
        for frame in frames {
            let twins = alike.entry(wide_digest(frame)).or_default();
            let identity = wide_digest(&(wide_digest(frame), *twins));
            *twins += 1;
            let next = self.tables.frames.len() as u32;
            let id = *self.tables.frames.entry(identity).or_insert(next);
            if id == next {
                append(&mut bytes, frame)?;
                self.spill(Kind::Frames, &mut bytes, block::FULL)?;
            }
            ids.push(id);
        }
        self.spill(Kind::Frames, &mut bytes, 1).map(|()| ids)
    }

    /// Stacks that are new or have other names now.
    fn stacks(&mut self, order: &[(Key, &Stack)], frames: &[u32]) -> io::Result<()> {
        let mut other: Vec<(Key, &Stack, u64)> = Vec::new();
        for (key, stack) in order {
            let digest = still_digest(stack, frames)?;
            match self.tables.stacks.get_mut(key) {
                Some(known) if known.still == digest => {}
                _ => other.push((*key, stack, digest)),
            }
        }
        // Those that begin alike stand together and share that.
        other.sort_by(|(key, one, _), (other_key, other, _)| {
            (key.process, key.kind)
                .cmp(&(other_key.process, other_key.kind))
                .then_with(|| outermost_first(one, frames).cmp(outermost_first(other, frames)))
        });
        let mut rows = Stacks::new();
        for (key, stack, digest) in other {
            let Tables { stacks, next_stack, strings, .. } = &mut *self.tables;
            let new = || {
                *next_stack += 1;
                Known { id: *next_stack - 1, seen: 0, still: 0, numbers: 0, kept: Kept::default() }
            };
            let known = stacks.entry(key).or_insert_with(new);
            known.still = digest;
            let still = Still {
                key,
                pid: stack.pid,
                owner: stack.owner.as_deref().map(|owner| strings.id(owner)),
                function: stack.function.as_deref().map(|function| strings.id(function)),
                thread: stack.thread.as_deref().map(|thread| strings.id(thread)),
                complete: stack.complete,
                stopped: strings.id(&stack.stopped),
                frames: outermost_first(stack, frames).collect(),
            };
            rows.add(known.id, still);
            if rows.size() >= block::FULL {
                self.rows(Kind::Stacks, &rows.take())?;
            }
        }
        if rows.is_empty() { Ok(()) } else { self.rows(Kind::Stacks, &rows.take()) }
    }

    /// Numbers that are others than at the moment before.
    fn changes(
        &mut self,
        report: &Report,
        order: &[(Key, &Stack)],
        differences: &HashMap<Key, &ChangedStack>,
    ) -> io::Result<()> {
        let running = running(&report.processes);
        let mut changed = Vec::new();
        for (at, (key, stack)) in order.iter().enumerate() {
            let clock = Clock {
                traced_ns: report.traced_ns,
                runs: running.get(&key.process).copied().unwrap_or_default(),
            };
            let (kept, digest) = (Kept::of(stack, clock), numbers_digest(stack, differences.get(key)));
            let Some(known) = self.tables.stacks.get_mut(key) else { continue };
            known.seen = self.tables.moments;
            let same = kept.same(known.kept);
            if known.numbers != digest || same != Same::Both {
                changed.push((known.id, at as u32, same));
            }
            (known.numbers, known.kept) = (digest, kept);
        }
        changed.sort_unstable_by_key(|(id, ..)| *id);
        let mut rows = Changes::new();
        for (id, at, same) in changed {
            let (key, stack) = &order[at as usize];
            let difference = differences.get(key).copied();
            rows.add(id, stack, same, difference, &mut self.tables.strings);
            if rows.size() >= block::FULL {
                self.rows(Kind::Changes, &rows.take())?;
            }
        }
        if rows.is_empty() { Ok(()) } else { self.rows(Kind::Changes, &rows.take()) }
    }

    /// Stacks that turned out to be another one, once finished.
    fn gone(&mut self, listed: usize) -> io::Result<()> {
        if self.tables.stacks.len() == listed {
            return Ok(());
        }
        let (mut ids, now) = (Vec::new(), self.tables.moments);
        self.tables.stacks.retain(|_, known| {
            if known.seen != now {
                ids.push(known.id);
            }
            known.seen == now
        });
        ids.sort_unstable();
        let mut bytes = Vec::new();
        ids.iter().try_for_each(|id| append(&mut bytes, id))?;
        self.block(Kind::Gone, &bytes)
    }
}

fn outermost_first<'a>(stack: &'a Stack, frames: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    stack.frames.iter().rev().map(|at| frames[*at])
}

/// A report's stacks in the order in which they were built.
fn order(report: &Report) -> io::Result<Vec<(Key, &Stack)>> {
    let key = |stack: &Stack| {
        let (kind, id) = (kind_of_name(&stack.kind)?, stack_of_name(&stack.stack)?);
        Some(Key { process: stack.process, stack: id, kind })
    };
    let keyed = report.stacks.iter().map(|stack| key(stack).map(|key| (key, stack)));
    let mut order: Vec<(Key, &Stack)> =
        keyed.collect::<Option<_>>().ok_or_else(|| io::Error::other("a stack without an id"))?;
    order.sort_unstable_by_key(|(key, _)| *key);
    Ok(order)
}

/// The parts of a report's difference, each at the first of the stacks that it is about; and those of stacks that are not
/// listed.
fn differences<'a>(
    report: &'a Report,
    order: &[(Key, &'a Stack)],
) -> (HashMap<Key, &'a ChangedStack>, Vec<ChangedStack>) {
    let stacks = report.diff.iter().flat_map(|diff| &diff.stacks);
    let mut by_stack: HashMap<StackId, &ChangedStack> = stacks.map(|one| (one.stack, one)).collect();
    let of = |(key, _): &(Key, &Stack)| Some((*key, by_stack.remove(&key.stack)?));
    let listed = order.iter().filter_map(of).collect();
    let mut elsewhere: Vec<ChangedStack> = by_stack.into_values().cloned().collect();
    elsewhere.sort_unstable_by_key(|one| one.stack);
    (listed, elsewhere)
}

fn digest(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn wide_digest(value: &impl Hash) -> u128 {
    u128::from(digest(&(0, value))) << 64 | u128::from(digest(&(1, value)))
}

fn still_digest(stack: &Stack, frames: &[u32]) -> io::Result<u64> {
    let ids: Option<Vec<u32>> = stack.frames.iter().map(|at| frames.get(*at).copied()).collect();
    let ids = ids.ok_or_else(|| io::Error::other("a stack with frames that are not there"))?;
    let Stack { pid, owner, function, thread, complete, stopped, .. } = stack;
    Ok(digest(&(pid, owner, function, thread, complete, stopped, ids)))
}

fn numbers_digest(stack: &Stack, difference: Option<&&ChangedStack>) -> u64 {
    let Stack {
        rank: _,
        stack: _,
        pid: _,
        process: _,
        kind: _,
        owner: _,
        function: _,
        thread: _,
        totals,
        oldest_age_ns,
        median_age_ns,
        sizes,
        error_bytes,
        types,
        generations,
        complete: _,
        stopped: _,
        frames: _,
    } = stack;
    let has_ages = (oldest_age_ns.is_some(), median_age_ns.is_some());
    digest(&(totals, has_ages, sizes, error_bytes, types, generations, difference))
}
