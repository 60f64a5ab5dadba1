//! Loads the kernel side and holds it.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, RingBuf},
    programs::{ProgramError, RawTracePoint, UProbe},
};
use leaktrace_common::{
    config,
    counter::COUNTERS,
    live::{Block, BlockKey},
    process::{ProcessEntry, ProcessId},
    stack::{StackEntry, StackId},
};
use thiserror::Error;

use super::{attach::Program, btf, clock, features, tables};
use crate::event::{Event, Snapshot, decode};

/// Built from `leaktrace-ebpf` by `cargo xtask bpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/leaktrace.bpf.o"));

/// Why the kernel side could not be loaded or read.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Missing(#[from] features::Missing),
    #[error(transparent)]
    Btf(#[from] btf::BtfError),
    #[error("the kernel refused leaktrace's maps or constants; please report this with your kernel version")]
    Object(#[from] aya::EbpfError),
    #[error("the kernel refused the program {program}; please report this with your kernel version")]
    Program { program: &'static str, source: ProgramError },
    #[error("the loaded object has no {0}: it does not belong to this agent; rebuild it: cargo xtask bpf")]
    NotInObject(&'static str),
    #[error("the kernel's table {table} could not be used")]
    Table { table: &'static str, source: std::io::Error },
}

/// What the user chose that the kernel side has to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Smallest and largest allocation recorded, in bytes.
    pub min_size: u64,
    pub max_size: u64,
    /// Room for live blocks and for stacks.
    pub max_live: u32,
    pub max_stacks: u32,
}

/// The loaded kernel side. Dropping it takes every probe and table back.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    events: RingBuf<MapData>,
}

/// Scheduler events that keep the books right over exec, fork and thread exit.
const LIFECYCLE: [(&str, &str); 3] = [
    ("process_exec", "sched_process_exec"),
    ("process_fork", "sched_process_fork"),
    ("process_exit", "sched_process_exit"),
];

impl Kernel {
    /// Loads and verifies everything; attaches the scheduler events, but no probe yet.
    pub fn load(options: Options) -> Result<Self, LoadError> {
        features::check()?;
        let types = btf::Btf::of_kernel()?;
        let mut constants = vec![(config::MIN_SIZE, options.min_size), (config::MAX_SIZE, options.max_size)];
        constants.extend(kernel_offsets(&types)?);
        let mut loader = EbpfLoader::new();
        for (name, value) in &constants {
            loader.override_global(name, value, true);
        }
        loader.map_max_entries("LIVE", options.max_live);
        loader.map_max_entries("STACKS", options.max_stacks);
        let mut ebpf = loader.load(OBJECT)?;

        let events = ebpf.take_map("EVENTS").ok_or(LoadError::NotInObject("EVENTS"))?;
        let events = RingBuf::try_from(events).map_err(|_| LoadError::NotInObject("EVENTS"))?;
        let mut kernel = Self { ebpf, events };
        kernel.load_programs()?;
        kernel.prepare_tables()?;
        Ok(kernel)
    }

    fn load_programs(&mut self) -> Result<(), LoadError> {
        for program in Program::ALL {
            let uprobe: &mut UProbe = self.program(program.name())?;
            uprobe.load().map_err(|source| LoadError::Program { program: program.name(), source })?;
        }
        for (program, event) in LIFECYCLE {
            let tracepoint: &mut RawTracePoint = self.program(program)?;
            tracepoint
                .load()
                .and_then(|()| tracepoint.attach(event))
                .map_err(|source| LoadError::Program { program, source })?;
        }
        Ok(())
    }

    fn prepare_tables(&mut self) -> Result<(), LoadError> {
        // Process 0 is "none" on the wire; the first processes are numbered by the agent, see `trace`.
        let mut next: Array<_, u64> = self
            .ebpf
            .map_mut("NEXT_PROCESS")
            .and_then(|map| Array::try_from(map).ok())
            .ok_or(LoadError::NotInObject("NEXT_PROCESS"))?;
        next.set(0, FIRST_KERNEL_PROCESS, 0)
            .map_err(|error| table_error("NEXT_PROCESS", std::io::Error::other(error)))?;
        let unknown = StackEntry { sent: 1, ..StackEntry::default() };
        tables::insert(self.fd("STACKS")?, &StackId::UNKNOWN, &unknown)
            .map_err(|source| table_error("STACKS", source))
    }

    pub(super) fn program<'a, P>(&'a mut self, name: &'static str) -> Result<&'a mut P, LoadError>
    where
        &'a mut P: TryFrom<&'a mut aya::programs::Program>,
    {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NotInObject(name))
    }

    pub(super) fn fd(&self, map: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        use aya::maps::Map;
        match self.ebpf.map(map) {
            Some(Map::HashMap(data) | Map::PerCpuArray(data) | Map::Array(data)) => Ok(data.fd().as_fd()),
            _ => Err(LoadError::NotInObject(map)),
        }
    }

    /// From now on what this process does is recorded.
    pub fn trace(&self, tgid: u32, id: ProcessId, flags: u32) -> Result<(), LoadError> {
        tables::insert(self.fd("PROCESSES")?, &tgid, &ProcessEntry { id, flags })
            .map_err(|source| table_error("PROCESSES", source))
    }

    /// From now on it is not; what was recorded stays readable.
    pub fn untrace(&self, tgid: u32) -> Result<(), LoadError> {
        match tables::remove(self.fd("PROCESSES")?, &tgid) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(table_error("PROCESSES", error))
            }
            _ => Ok(()),
        }
    }

    /// Moves every waiting record to `out`.
    pub fn drain(&mut self, out: &mut Vec<Event>) {
        while let Some(record) = self.events.next() {
            out.push(decode::decode(&record).unwrap_or(Event::Undecodable));
        }
    }

    /// Reads every table. A block that lives while this runs is seen exactly once.
    pub fn snapshot(&self) -> Result<Snapshot, LoadError> {
        let stacks = tables::read_all::<StackId, StackEntry>(self.fd("STACKS")?)
            .map_err(|source| table_error("STACKS", source))?;
        let blocks = tables::read_all::<BlockKey, Block>(self.fd("LIVE")?)
            .map_err(|source| table_error("LIVE", source))?;
        let counters = tables::read_per_cpu::<[u64; COUNTERS]>(self.fd("COUNTERS")?)
            .map_err(|source| table_error("COUNTERS", source))?
            .into_iter()
            .fold([0; COUNTERS], |mut sums, cpu| {
                sums.iter_mut().zip(cpu).for_each(|(sum, value)| *sum += value);
                sums
            });
        Ok(Snapshot { at: clock::now(), stacks, blocks, counters })
    }

    /// Removes blocks whose process is gone (exec), so that they do not fill the table.
    pub fn forget<'a>(&self, blocks: impl IntoIterator<Item = &'a BlockKey>) -> Result<(), LoadError> {
        let live = self.fd("LIVE")?;
        for block in blocks {
            match tables::remove(live, block) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(table_error("LIVE", error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Places in the kernel's own structures. Without those of pending return probes (a kernel that names them
/// otherwise) such probes are not undone, and a stack that meets one is marked as incomplete.
fn kernel_offsets(types: &btf::Btf) -> Result<Vec<(&'static str, u64)>, btf::BtfError> {
    let (needed, of_return_probes) = config::KERNEL_OFFSETS.split_at(2);
    let find = |(name, structure, member): &(&'static str, &str, &str)| {
        types.offset_of(structure, member).map(|offset| (*name, u64::from(offset)))
    };
    let mut offsets = needed.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    match of_return_probes.iter().map(find).collect::<Result<Vec<_>, _>>() {
        Ok(found) => offsets.extend(found),
        Err(btf::BtfError::NoSuchMember { .. }) => {
            offsets.extend(of_return_probes.iter().map(|(name, ..)| (*name, 0)));
        }
        Err(error) => return Err(error),
    }
    Ok(offsets)
}

/// Numbers from here on are given out by the kernel side, to what execs and to followed children.
const FIRST_KERNEL_PROCESS: u64 = 1 << 16;

fn table_error(table: &'static str, source: std::io::Error) -> LoadError {
    LoadError::Table { table, source }
}
