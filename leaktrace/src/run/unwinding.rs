//! Keeps the kernel side's unwind tables as the processes' mappings change.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    time::Duration,
};

use leaktrace_common::{
    process::ProcessId,
    stack::MAX_FRAMES,
    unwind::{MappingEntry, Rule, rule_at},
};

use super::probes::Probes;
use crate::{
    event::{Backing, BinaryId, Mapping, Unfinished},
    kernel::{
        Kernel, LoadError, clock,
        unwind_maps::{UnwindEntries, UnwindMemory},
    },
    unwind::{
        finish::{self, Above},
        image::{self, Image, Images},
        mapping::{self, Code, CodeMapping},
        tables::{Gaps, Tables, TablesError},
    },
};

/// Holds the tables of files that a program is about to map. No real process has it.
const PREPARED: ProcessId = ProcessId(u32::MAX);
/// Bytes apart that files lie in [`PREPARED`]; none is larger.
const APART: u64 = 1 << 36;

pub(super) struct Unwinding {
    tables: Tables<UnwindMemory, UnwindEntries>,
    unread: u64,
    /// Of each process that ever had more mappings than its tables have room for, the most that were left out.
    left_out: HashMap<ProcessId, u64>,
    left_out_of_gone: u64,
}

impl Unwinding {
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self, LoadError> {
        let (memory, entries) = kernel.take_unwind_maps()?;
        Ok(Self {
            tables: Tables::new(memory, entries),
            unread: 0,
            left_out: HashMap::new(),
            left_out_of_gone: 0,
        })
    }

    /// Makes the mappings, sorted and without overlaps, what the process unwinds by.
    pub(super) fn update(
        &mut self,
        process: ProcessId,
        pid: u32,
        mappings: &[Mapping],
        probes: &Probes,
    ) -> Result<(), TablesError> {
        let code = code_of(mappings);
        let gaps = self.tables.update(process, &code, &mut Held { probes, pid }, now())?;
        self.count(process, &gaps);
        Ok(())
    }

    /// Mappings of files that could not be read: their code is unwound by frame pointers, as a guess.
    pub(super) const fn unread(&self) -> u64 {
        self.unread
    }

    /// Mappings that the tables of their processes had no room for.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out_of_gone + self.left_out.values().sum::<u64>()
    }

    /// Makes the tables of files ahead of the program that will map them: its first stacks need them at once.
    pub(super) fn prepare(&mut self, files: &[BinaryId], probes: &Probes) -> Result<(), TablesError> {
        let at = |(index, id): (usize, &BinaryId)| {
            let start = (index as u64 + 1) * APART;
            let code = Code::File { device: 0, inode: u64::from(id.0) };
            CodeMapping { start, end: start + APART, offset: 0, code }
        };
        let mappings: Vec<CodeMapping> = files.iter().enumerate().map(at).collect();
        // What cannot be read is counted when a process maps it.
        self.tables.update(PREPARED, &mappings, &mut Held { probes, pid: 0 }, now())?;
        Ok(())
    }

    /// Goes on with a stack of `depth` frames; none where its process has no tables.
    pub(super) fn walk_on(&self, rest: &Unfinished, depth: usize) -> Option<Above> {
        let table = self.tables.of(rest.process)?;
        Some(finish::walk_on(self.tables.arena(), table, rest, MAX_FRAMES.saturating_sub(depth)))
    }

    /// Whether the code at `address` is left by frame pointers, for sure.
    pub(super) fn is_chained(&self, process: ProcessId, address: u64) -> bool {
        let Some(table) = self.tables.of(process) else { return false };
        rule_at(self.tables.arena(), table, &mut MappingEntry::default(), address) == Ok(Rule::CHAIN)
    }

    /// The process is gone, or runs another program.
    pub(super) fn remove(&mut self, process: ProcessId) -> Result<(), TablesError> {
        self.tables.remove(process, now())
    }

    /// Processes that nobody asks about any more: what was left out of their tables stays counted.
    pub(super) fn forget(&mut self, gone: &HashSet<ProcessId>) {
        let left_out = self.left_out.extract_if(|process, _| gone.contains(process));
        self.left_out_of_gone += left_out.map(|(_, most)| most).sum::<u64>();
    }

    fn count(&mut self, process: ProcessId, gaps: &Gaps) {
        self.unread += gaps.unreadable.len() as u64;
        if gaps.left_out > 0 {
            let most = self.left_out.entry(process).or_default();
            *most = (*most).max(gaps.left_out as u64);
        }
    }
}

/// The files that the agent holds open, which outlive the process.
struct Held<'a> {
    probes: &'a Probes,
    pid: u32,
}

impl Images for Held<'_> {
    fn open(&mut self, mapping: &CodeMapping) -> io::Result<Image> {
        match mapping.code {
            Code::File { device: _, inode } => {
                let id = BinaryId(u32::try_from(inode).map_err(io::Error::other)?);
                let known = self.probes.binary(id).ok_or(io::ErrorKind::NotFound)?;
                File::open(known.file.probe_path()).map(Image::File)
            }
            Code::Vdso => image::vdso(self.pid, mapping),
            Code::Anonymous => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Files are told by our own number for them.
fn code_of(mappings: &[Mapping]) -> Vec<CodeMapping> {
    mapping::joined(mappings.iter().map(|mapping| {
        let Mapping { start, end, offset, backing } = *mapping;
        let code = match backing {
            Backing::Binary(id) => Code::File { device: 0, inode: u64::from(id.0) },
            Backing::Vdso => Code::Vdso,
            Backing::Anonymous => Code::Anonymous,
        };
        CodeMapping { start, end, offset: offset.0, code }
    }))
}

fn now() -> Duration {
    Duration::from_nanos(clock::now())
}
