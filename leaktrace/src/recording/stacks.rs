//! What a stack is: written when it is first seen, and again where it gets other names.

use leaktrace_common::stack::StackId;

use super::{
    callees::Callees,
    columns::{Batch, Rows},
    error::Malformed,
};
use crate::ledger::Kind;

/// What tells stacks apart, in the order in which a report's are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) process: u32,
    pub(super) stack: StackId,
    pub(super) kind: Kind,
}

/// The file's numbers of kinds.
const KINDS: [Kind; 3] = [Kind::Heap, Kind::Mapping, Kind::JavaScript];

/// Of [`crate::report::Stack::kind`].
pub(super) fn kind_of_name(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// A stack without its numbers. Strings and frames are told by their places in the recording's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Still {
    pub(super) key: Key,
    pub(super) pid: u32,
    pub(super) owner: Option<u32>,
    pub(super) function: Option<u32>,
    pub(super) thread: Option<u32>,
    pub(super) complete: bool,
    pub(super) stopped: u32,
    /// Outermost first: stacks of one thread begin alike.
    pub(super) frames: Vec<u32>,
}

/// A stack begins as the one before it with so many frames at most: what is read of a byte stays within bounds.
const SHARED: usize = 1024;

mod column {
    pub(super) const ID: usize = 0;
    pub(super) const PROCESS: usize = 1;
    pub(super) const STACK: usize = 2;
    pub(super) const KIND: usize = 3;
    pub(super) const PID: usize = 4;
    pub(super) const OWNER: usize = 5;
    pub(super) const FUNCTION: usize = 6;
    pub(super) const STOPPED: usize = 7;
    pub(super) const SHARED: usize = 8;
    pub(super) const LENGTH: usize = 9;
    /// Of each frame that is not shared: where it is among the callees of its caller, from 1 on; 0 for none of them.
    pub(super) const CALLEE: usize = 10;
    /// Of those: their numbers, the lower eight bits and the others, as only these have anything in common.
    pub(super) const LOW: usize = 11;
    pub(super) const HIGH: usize = 12;
    pub(super) const THREAD: usize = 13;
    pub(super) const ALL: usize = 14;

    pub(super) const ALL_OF_VERSION_2: usize = 13;

    /// Version 1 had numbers of frames here, and no columns behind it.
    pub(super) const FRAMES: usize = 10;
    pub(super) const ALL_OF_VERSION_1: usize = 11;
}

/// Rows of them, of one moment; ids, processes and frames are told by what they differ from the row before.
#[derive(Debug)]
pub(super) struct Stacks {
    batch: Batch<{ column::ALL }>,
    before: Option<(u32, Still)>,
    callees: Callees,
}

impl Stacks {
    pub(super) fn new() -> Self {
        Self { batch: Batch::new(), before: None, callees: Callees::default() }
    }

    pub(super) fn add(&mut self, id: u32, still: Still) {
        let Still { key, pid, owner, function, thread, complete, stopped, frames } = &still;
        let before = self.before.as_ref();
        let change =
            |now: u32, of: &dyn Fn(&(u32, Still)) -> u32| i64::from(now) - i64::from(before.map_or(0, of));
        let batch = &mut self.batch;
        batch.row();
        batch.put_signed(column::ID, change(id, &|(id, _)| *id));
        batch.put_signed(column::PROCESS, change(key.process, &|(_, still)| still.key.process));
        batch.put_random(column::STACK, key.stack.0);
        batch.put(column::KIND, KINDS.iter().take_while(|kind| **kind != key.kind).count() as u64);
        batch.put_signed(column::PID, change(*pid, &|(_, still)| still.pid));
        batch.put(column::OWNER, owner.map_or(0, |owner| u64::from(owner) + 1));
        batch.put(column::FUNCTION, function.map_or(0, |function| u64::from(function) + 1));
        batch.put(column::THREAD, thread.map_or(0, |thread| u64::from(thread) + 1));
        batch.put(column::STOPPED, u64::from(*stopped) * 2 + u64::from(*complete));
        let known = before.map_or(&[][..], |(_, still)| &still.frames);
        let shared = frames.iter().zip(known).take(SHARED).take_while(|(one, other)| one == other).count();
        batch.put(column::SHARED, shared as u64);
        batch.put(column::LENGTH, (frames.len() - shared) as u64);
        let mut caller = shared.checked_sub(1).map(|last| frames[last]);
        for frame in &frames[shared..] {
            let place = self.callees.place(caller, *frame);
            batch.put(column::CALLEE, place as u64);
            if place == 0 {
                batch.put_byte(column::LOW, *frame as u8);
                batch.put(column::HIGH, u64::from(*frame >> 8));
            }
            caller = Some(*frame);
        }
        self.before = Some((id, still));
    }

    pub(super) fn size(&self) -> usize {
        self.batch.size()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.before = None;
        self.batch.take()
    }
}

/// Takes a stack with its id.
pub(super) type Each<'a> = dyn FnMut(u32, Still) -> Result<(), Malformed> + 'a;

/// Reads rows; callees are those of the same moment's rows before.
pub(super) fn each(bytes: &[u8], callees: &mut Callees, with: &mut Each<'_>) -> Result<(), Malformed> {
    with_callees(Rows::<{ column::ALL }>::of(bytes)?, callees, with)
}

/// The same of the format's version 2.
pub(super) fn each_of_version_2(
    bytes: &[u8],
    callees: &mut Callees,
    with: &mut Each<'_>,
) -> Result<(), Malformed> {
    with_callees(Rows::<{ column::ALL_OF_VERSION_2 }>::of(bytes)?, callees, with)
}

fn with_callees<const N: usize>(
    mut rows: Rows<'_, N>,
    callees: &mut Callees,
    with: &mut Each<'_>,
) -> Result<(), Malformed> {
    rows_of(&mut rows, column::CALLEE, with, |rows, caller| {
        match usize::try_from(rows.get(column::CALLEE)?) {
            Ok(0) => {
                let (low, high) = (rows.get_byte(column::LOW)?, rows.get_u32(column::HIGH)?);
                let frame = high.checked_mul(1 << 8).ok_or(Malformed("a frame"))? | u32::from(low);
                callees.add(caller, frame);
                Ok(frame)
            }
            place => place.ok().and_then(|place| callees.at(caller, place)).ok_or(Malformed("a callee")),
        }
    })
}

/// The same of the format's version 1.
pub(super) fn each_of_version_1(bytes: &[u8], with: &mut Each<'_>) -> Result<(), Malformed> {
    let mut rows = Rows::<{ column::ALL_OF_VERSION_1 }>::of(bytes)?;
    rows_of(&mut rows, column::FRAMES, with, |rows, _| rows.get_u32(column::FRAMES))
}

/// `frame` reads one; it is given the caller. Each takes a byte of column `frames` at least.
fn rows_of<const N: usize>(
    rows: &mut Rows<'_, N>,
    frames: usize,
    with: &mut Each<'_>,
    mut frame: impl FnMut(&mut Rows<'_, N>, Option<u32>) -> Result<u32, Malformed>,
) -> Result<(), Malformed> {
    let (mut id, mut process, mut pid) = (0, 0, 0);
    let mut before: Vec<u32> = Vec::new();
    while rows.row() {
        id = moved(id, rows.get_signed(column::ID)?)?;
        process = moved(process, rows.get_signed(column::PROCESS)?)?;
        let stack = StackId(rows.get_random(column::STACK)?);
        let kind = usize::try_from(rows.get(column::KIND)?).ok();
        let kind = kind.and_then(|at| KINDS.get(at)).ok_or(Malformed("a kind of memory"))?;
        pid = moved(pid, rows.get_signed(column::PID)?)?;
        let owner = rows.get_u32(column::OWNER)?.checked_sub(1);
        let function = rows.get_u32(column::FUNCTION)?.checked_sub(1);
        let thread = if N > column::THREAD { rows.get_u32(column::THREAD)?.checked_sub(1) } else { None };
        let stopped = rows.get(column::STOPPED)?;
        let complete = stopped & 1 == 1;
        let stopped = u32::try_from(stopped >> 1).map_err(|_| Malformed("a reason"))?;
        let shared = rows.get_u32(column::SHARED)? as usize;
        if shared > before.len().min(SHARED) {
            return Err(Malformed("a number of shared frames"));
        }
        before.truncate(shared);
        for _ in 0..rows.get_count(column::LENGTH, frames)? {
            let next = frame(rows, before.last().copied())?;
            before.push(next);
        }
        let key = Key { process, stack, kind: *kind };
        with(id, Still { key, pid, owner, function, thread, complete, stopped, frames: before.clone() })?;
    }
    Ok(())
}

/// A number from the one before and what it differs by.
pub(super) fn moved(before: u32, by: i64) -> Result<u32, Malformed> {
    let now = i64::from(before).checked_add(by).and_then(|now| u32::try_from(now).ok());
    now.ok_or(Malformed("a number out of its range"))
}
