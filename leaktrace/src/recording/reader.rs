//! Reads a recording: first which of its moments are whole, then these, one after the other.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufReader, Read, Seek, SeekFrom},
};

use super::{
    ages::{Clock, Kept},
    block::{Block, Found, HEADER, Kind, read_header},
    callees::Callees,
    changes::{Changes, Numbers},
    error::{Malformed, Rest, Unreadable},
    moment::{Begin, Cycles, ProcessAt, VerdictAt, each},
    rebuild::rebuild,
    stacks::{self, Each, Still},
};
use crate::{
    ledger::State as LifeState,
    report::{Cycle, Frame, Process, Report, Verdict},
};

/// A recording that is being read.
pub struct Reader<F> {
    file: BufReader<F>,
    /// Where the last whole moment ends.
    end: u64,
    at: u64,
    number: u32,
    rest: Rest,
    /// The beginning of the next moment, and whether nothing before it counts.
    next: Option<(Begin, bool)>,
    pub(super) state: State,
}

/// What is known at a moment.
#[derive(Default)]
pub(super) struct State {
    pub(super) begin: Option<Begin>,
    pub(super) strings: Vec<String>,
    pub(super) frames: Vec<Frame>,
    pub(super) stacks: Vec<Option<Known>>,
    pub(super) processes: Vec<Process>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) cycles: BTreeMap<u32, Vec<Cycle>>,
    /// Those of the moment's stacks so far.
    callees: Callees,
}

pub(super) struct Known {
    pub(super) still: Still,
    pub(super) kept: Kept,
    pub(super) numbers: Numbers,
}

impl<F: Read + Seek> Reader<F> {
    /// Looks which moments are whole; nothing of them is kept yet.
    ///
    /// # Errors
    /// It is no recording, one of a newer format, or has no whole moment.
    pub fn new(file: F) -> Result<Self, Unreadable> {
        let mut file = BufReader::new(file);
        let size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        read_header(&mut file)?;
        let (mut at, mut end, mut number, mut is_last) = (HEADER as u64, None, 0, false);
        let found = loop {
            match Block::read(&mut file, number)? {
                // What follows the last moment is not ours.
                Found::Block(_) if is_last => break Found::Damaged,
                Found::Block(block) => {
                    at += block.size();
                    number += 1;
                    if let Ok(kind) = Kind::try_from(block.kind)
                        && kind.ends_moment()
                    {
                        (end, is_last) = (Some(at), kind == Kind::Last);
                    }
                }
                found => break found,
            }
        };
        let bytes = size.saturating_sub(end.unwrap_or(HEADER as u64));
        let rest = match found {
            Found::Nothing if is_last => Rest::Ended,
            Found::Nothing if bytes == 0 => Rest::Unended,
            Found::Damaged => Rest::Damaged { bytes },
            Found::Nothing | Found::Part | Found::Block(_) => Rest::Cut { bytes },
        };
        let end = end.ok_or(Unreadable::NoMoment { rest })?;
        file.seek(SeekFrom::Start(HEADER as u64))?;
        let (at, state) = (HEADER as u64, State::default());
        Ok(Self { file, end, at, number: 0, rest, next: None, state })
    }

    /// How it goes on after its last whole moment.
    #[must_use]
    pub const fn rest(&self) -> Rest {
        self.rest
    }

    /// Goes on to the next moment and returns when it was, in nanoseconds since tracing began; none after the last.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense though its checksums are right.
    pub fn next_moment(&mut self) -> Result<Option<u64>, Unreadable> {
        let Some((begin, is_anew)) = self.begin()? else { return Ok(None) };
        let at = begin.traced_ns;
        if is_anew {
            self.state = State::default();
        }
        self.state.begin(begin);
        loop {
            let (kind, bytes) = self.block()?;
            if kind.ends_moment() {
                return self.state.check().map(|()| Some(at)).map_err(Into::into);
            }
            self.state.take(kind, &bytes)?;
        }
    }

    /// When the next moment was, without going on to it.
    ///
    /// # Errors
    /// As [`Self::next_moment`].
    pub fn peek(&mut self) -> Result<Option<u64>, Unreadable> {
        let next = self.begin()?;
        let at = next.as_ref().map(|(begin, _)| begin.traced_ns);
        self.next = next;
        Ok(at)
    }

    /// The report of this moment, as it would have been made then; none before the first.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        rebuild(&self.state)
    }

    fn begin(&mut self) -> Result<Option<(Begin, bool)>, Unreadable> {
        if self.next.is_none() && self.at < self.end {
            let (mut kind, mut bytes) = self.block()?;
            let is_anew = kind == Kind::Anew;
            if is_anew {
                (kind, bytes) = self.block()?;
            }
            if kind != Kind::Begin {
                return Err(Malformed("a moment that does not begin").into());
            }
            let begin = each(&bytes).next().ok_or(Malformed("a moment's beginning"))??;
            self.next = Some((begin, is_anew));
        }
        Ok(self.next.take())
    }

    fn block(&mut self) -> Result<(Kind, Vec<u8>), Unreadable> {
        let block = match Block::read(&mut self.file, self.number)? {
            Found::Block(block) if self.at < self.end => block,
            // It was whole a moment ago.
            _ => return Err(Malformed("what changed while it was read").into()),
        };
        self.at += block.size();
        self.number += 1;
        Ok((Kind::try_from(block.kind)?, block.unpack()?))
    }
}

impl State {
    fn begin(&mut self, begin: Begin) {
        self.processes.truncate(begin.processes);
        self.verdicts.truncate(begin.verdicts);
        self.begin = Some(begin);
        self.callees = Callees::default();
    }

    fn take(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Malformed> {
        match kind {
            Kind::Strings => {
                for string in each(bytes) {
                    self.strings.push(string?);
                }
                Ok(())
            }
            Kind::Frames => {
                for frame in each(bytes) {
                    self.frames.push(frame?);
                }
                Ok(())
            }
            Kind::Processes => each(bytes).try_for_each(|process| {
                let ProcessAt { place, is } = process?;
                put(&mut self.processes, place, is)
            }),
            Kind::Verdicts => each(bytes).try_for_each(|verdict| {
                let VerdictAt { place, is } = verdict?;
                put(&mut self.verdicts, place, is)
            }),
            Kind::Cycles => each(bytes).try_for_each(|cycles| {
                let Cycles { process, latest, new } = cycles?;
                let known = self.cycles.entry(process).or_default();
                known.extend(new);
                known.drain(..known.len().saturating_sub(latest));
                Ok(())
            }),
            Kind::FirstStacks => self.stacks(bytes, |bytes, _, with| stacks::each_of_version_1(bytes, with)),
            Kind::SecondStacks => self.stacks(bytes, stacks::each_of_version_2),
            Kind::Stacks => self.stacks(bytes, stacks::each),
            // Those of version 1 do without one of the flags, and are alike otherwise.
            Kind::FirstChanges | Kind::Changes => self.changes(bytes),
            Kind::Gone => each(bytes).try_for_each(|id| {
                let id: u32 = id?;
                *self.stacks.get_mut(id as usize).ok_or(Malformed("a stack that went"))? = None;
                Ok(())
            }),
            Kind::Begin | Kind::Anew | Kind::End | Kind::Last => Err(Malformed("a block out of its place")),
        }
    }

    fn stacks(
        &mut self,
        bytes: &[u8],
        each: impl Fn(&[u8], &mut Callees, &mut Each<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let Self { stacks, strings, frames, callees, .. } = self;
        let is_there = |id: u32, length: usize| (id as usize) < length;
        each(bytes, callees, &mut |id, still| {
            let at = id as usize;
            let named = [still.owner, still.function, Some(still.stopped)];
            let is_sound = at <= stacks.len()
                && named.into_iter().flatten().all(|string| is_there(string, strings.len()))
                && still.frames.iter().all(|frame| is_there(*frame, frames.len()));
            if !is_sound {
                return Err(Malformed("a stack"));
            }
            match stacks.get_mut(at) {
                Some(Some(known)) => known.still = still,
                other => {
                    let new = Some(Known { still, kept: Kept::default(), numbers: Numbers::default() });
                    if let Some(free) = other { *free = new } else { stacks.push(new) }
                }
            }
            Ok(())
        })
    }

    fn changes(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let traced_ns = self.begin.as_ref().map_or(0, |begin| begin.traced_ns);
        let running = running(&self.processes);
        let Self { stacks, strings, .. } = self;
        Changes::each(bytes, |id, ages, numbers| {
            let known = stacks.get_mut(id as usize).and_then(Option::as_mut);
            let known = known.ok_or(Malformed("a change of a stack that is not there"))?;
            let types = numbers.types.iter().map(|(name, _)| *name);
            let changed = numbers.difference.iter().flat_map(|difference| &difference.types);
            if types.chain(changed.map(|changed| changed.what)).any(|name| name as usize >= strings.len()) {
                return Err(Malformed("a name"));
            }
            known.numbers = numbers;
            if let Some(ages) = ages {
                let runs = running.get(&known.still.key.process).copied().unwrap_or_default();
                known.kept = known.kept.then(ages, Clock { traced_ns, runs });
            }
            Ok(())
        })
    }

    /// Whether everything that the moment should have is there.
    fn check(&self) -> Result<(), Malformed> {
        let begin = self.begin.as_ref().ok_or(Malformed("a moment that does not begin"))?;
        let is_whole = (self.processes.len(), self.verdicts.len()) == (begin.processes, begin.verdicts);
        if is_whole { Ok(()) } else { Err(Malformed("a list that is not whole")) }
    }
}

/// Whether blocks of a process get older.
pub(super) fn running(processes: &[Process]) -> HashMap<u32, bool> {
    processes
        .iter()
        .map(|process| (process.process, process.state == LifeState::Running.describe()))
        .collect()
}

/// Lists grow by one at a time.
fn put<T>(list: &mut Vec<T>, place: usize, is: T) -> Result<(), Malformed> {
    let length = list.len();
    match list.get_mut(place) {
        Some(known) => *known = is,
        None if place == length => list.push(is),
        None => return Err(Malformed("a place beyond a list's end")),
    }
    Ok(())
}
