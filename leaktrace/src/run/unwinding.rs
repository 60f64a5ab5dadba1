//! Keeps the kernel side's unwind tables as the processes' mappings change.

use std::{fs::File, io, time::Duration};

use leaktrace_common::process::ProcessId;

use super::probes::Probes;
use crate::{
    event::{Backing, BinaryId, Mapping},
    kernel::{
        Kernel, LoadError, clock,
        unwind_maps::{UnwindEntries, UnwindMemory},
    },
    unwind::{
        image::{Image, Images, OfProcess},
        mapping::{Code, CodeMapping},
        tables::{Gaps, Tables, TablesError},
    },
};

/// Holds the tables of files that a program is about to map. No real process has it.
const PREPARED: ProcessId = ProcessId(u32::MAX);
/// Bytes apart that files lie in [`PREPARED`]; none is larger.
const APART: u64 = 1 << 36;

pub(super) struct Unwinding {
    tables: Tables<UnwindMemory, UnwindEntries>,
    /// Files without usable tables: their code is unwound by frame pointers.
    pub(super) unreadable: usize,
    /// Mappings that the tables of a process had no room for.
    pub(super) left_out: usize,
}

impl Unwinding {
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self, LoadError> {
        let (memory, entries) = kernel.take_unwind_maps()?;
        Ok(Self { tables: Tables::new(memory, entries), unreadable: 0, left_out: 0 })
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
        self.count(&gaps);
        Ok(())
    }

    /// Makes the tables of files ahead of the program that will map them: its first stacks need them at once.
    pub(super) fn prepare(&mut self, files: &[BinaryId], probes: &Probes) -> Result<(), TablesError> {
        let at = |(index, id): (usize, &BinaryId)| {
            let start = (index as u64 + 1) * APART;
            let code = Code::File { device: 0, inode: u64::from(id.0) };
            CodeMapping { start, end: start + APART, offset: 0, code }
        };
        let mappings: Vec<CodeMapping> = files.iter().enumerate().map(at).collect();
        let gaps = self.tables.update(PREPARED, &mappings, &mut Held { probes, pid: 0 }, now())?;
        self.count(&gaps);
        Ok(())
    }

    /// The process is gone, or runs another program.
    pub(super) fn remove(&mut self, process: ProcessId) -> Result<(), TablesError> {
        self.tables.remove(process, now())
    }

    fn count(&mut self, gaps: &Gaps) {
        self.unreadable += gaps.unreadable.len();
        self.left_out += gaps.left_out;
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
                File::open(self.probes.binary(id).file.probe_path()).map(Image::File)
            }
            Code::Vdso | Code::Anonymous => OfProcess(self.pid).open(mapping),
        }
    }
}

/// Files are told by our own number for them; neighbours without a file are one.
fn code_of(mappings: &[Mapping]) -> Vec<CodeMapping> {
    let mut all: Vec<CodeMapping> = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let Mapping { start, end, offset, backing } = *mapping;
        let code = match backing {
            Backing::Binary(id) => Code::File { device: 0, inode: u64::from(id.0) },
            Backing::Vdso => Code::Vdso,
            Backing::Anonymous => Code::Anonymous,
        };
        match all.last_mut() {
            Some(last) if code == Code::Anonymous && last.code == code && last.end == start => last.end = end,
            _ => all.push(CodeMapping { start, end, offset: offset.0, code }),
        }
    }
    all
}

fn now() -> Duration {
    Duration::from_nanos(clock::now())
}
