//! Loads the kernel side and holds it.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    thread,
};

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

use super::{attach::Program, btf, clock, features, multi::Multi, tables};
use crate::event::{Event, Snapshot, Unfinished, decode};

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
    /// A link for each probe, as it has to be on older kernels.
    pub probe_by_probe: bool,
}

/// The loaded kernel side. Dropping it takes every table back, and the probes with them.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// None where the kernel has to be asked for each probe.
    pub(super) multi: Option<Multi>,
    events: RingBuf<MapData>,
    max_live: u32,
    max_stacks: u32,
}

/// Scheduler events that keep the books right over exec, fork and thread exit.
const LIFECYCLE: [(&str, &str); 3] = [
    ("process_exec", "sched_process_exec"),
    ("process_fork", "sched_process_fork"),
    ("process_exit", "sched_process_exit"),
];

impl Kernel {
    /// Loads the tables; attaches the scheduler events, but no probe yet. What probes run is loaded when the first is placed.
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
        let multi = if options.probe_by_probe { None } else { Multi::new(OBJECT, &ebpf) };

        let events = ebpf.take_map("EVENTS").ok_or(LoadError::NotInObject("EVENTS"))?;
        let events = RingBuf::try_from(events).map_err(|_| LoadError::NotInObject("EVENTS"))?;
        let Options { max_live, max_stacks, .. } = options;
        let mut kernel = Self { ebpf, multi, events, max_live, max_stacks };
        kernel.follow_lives()?;
        kernel.prepare_tables(max_stacks)?;
        Ok(kernel)
    }

    /// Loads everything that may be wanted later: then a library that a child maps has its probes without delay.
    pub fn load_all(&mut self) -> Result<(), LoadError> {
        let has_sessions = self.has_sessions();
        let programs: Vec<Program> =
            Program::ALL.into_iter().filter(|program| has_sessions || !program.is_session()).collect();
        self.load_programs(&programs)
    }

    /// Loads those of these programs that are not yet.
    pub(super) fn load_programs(&mut self, programs: &[Program]) -> Result<(), LoadError> {
        match self.multi.as_mut().map(|multi| multi.load(programs)) {
            Some(Ok(())) => Ok(()),
            // Then aya says why.
            Some(Err(_)) => {
                self.multi = None;
                self.load_one_by_one(programs)
            }
            None => self.load_one_by_one(programs),
        }
    }

    /// The same for links of one probe each.
    pub(super) fn load_one_by_one(&mut self, programs: &[Program]) -> Result<(), LoadError> {
        let mut uprobes: HashMap<&str, &mut UProbe> = self
            .ebpf
            .programs_mut()
            .filter_map(|(name, program)| Some((name, program.try_into().ok()?)))
            .collect();
        // At once, see `Multi::load`.
        thread::scope(|scope| {
            let mut loads = Vec::with_capacity(programs.len());
            for program in programs.iter().copied().map(Program::name) {
                let uprobe = uprobes.remove(program).ok_or(LoadError::NotInObject(program))?;
                if uprobe.fd().is_err() {
                    loads.push((program, scope.spawn(|| uprobe.load())));
                }
            }
            loads.into_iter().try_for_each(|(program, load)| match load.join() {
                Ok(loaded) => loaded.map_err(|source| LoadError::Program { program, source }),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// A program as it was loaded: for links of many probes, and for those of one.
    pub(super) fn loaded(&self, program: Program) -> impl Iterator<Item = BorrowedFd<'_>> {
        let many = self.multi.as_ref().and_then(|multi| multi.loaded(program));
        let one = self.ebpf.program(program.name()).and_then(|program| program.fd().ok());
        many.map(AsFd::as_fd).into_iter().chain(one.map(AsFd::as_fd))
    }

    fn follow_lives(&mut self) -> Result<(), LoadError> {
        for (program, event) in LIFECYCLE {
            let tracepoint: &mut RawTracePoint = self.program(program)?;
            tracepoint
                .load()
                .and_then(|()| tracepoint.attach(event))
                .map_err(|source| LoadError::Program { program, source })?;
        }
        Ok(())
    }

    fn prepare_tables(&mut self, max_stacks: u32) -> Result<(), LoadError> {
        // Process 0 is "none" on the wire; the first processes are numbered by the agent, see `trace`.
        let mut next: Array<_, u64> = self
            .ebpf
            .map_mut("NEXT_PROCESS")
            .and_then(|map| Array::try_from(map).ok())
            .ok_or(LoadError::NotInObject("NEXT_PROCESS"))?;
        next.set(0, FIRST_KERNEL_PROCESS, 0)
            .map_err(|error| table_error("NEXT_PROCESS", std::io::Error::other(error)))?;
        tables::insert(self.fd("UNFINISHED_LEFT")?, &0u32, &i64::from(max_stacks / UNFINISHED_PART))
            .map_err(|source| table_error("UNFINISHED_LEFT", source))?;
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
            Some(
                Map::HashMap(data)
                | Map::LruHashMap(data)
                | Map::PerCpuArray(data)
                | Map::Array(data)
                | Map::Queue(data),
            ) => Ok(data.fd().as_fd()),
            _ => Err(LoadError::NotInObject(map)),
        }
    }

    /// From now on what this process does is recorded.
    pub fn trace(&self, tgid: u32, id: ProcessId, flags: u32) -> Result<(), LoadError> {
        tables::insert(self.fd("PROCESSES")?, &tgid, &ProcessEntry { id, flags })
            .map_err(|source| table_error("PROCESSES", source))
    }

    /// The same for one that may be traced already, as a child of one that is: then nothing changes, and this is false.
    pub fn trace_new(&self, tgid: u32, id: ProcessId, flags: u32) -> Result<bool, LoadError> {
        match tables::insert_new(self.fd("PROCESSES")?, &tgid, &ProcessEntry { id, flags }) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(table_error("PROCESSES", source)),
        }
    }

    /// From now on it is not; what was recorded stays readable.
    pub fn untrace(&self, tgid: u32) -> Result<(), LoadError> {
        removed("PROCESSES", tables::remove(self.fd("PROCESSES")?, &tgid))
    }

    /// Every live block.
    pub fn blocks(&self) -> Result<Vec<(BlockKey, Block)>, LoadError> {
        tables::read_all(self.fd("LIVE")?).map_err(|source| table_error("LIVE", source))
    }

    /// A live block as it is now.
    pub fn block(&self, key: BlockKey) -> Option<Block> {
        tables::get(self.fd("LIVE").ok()?, &key).ok()
    }

    /// Moves every waiting record to `out`, and what stacks lack to `unfinished`.
    pub fn drain(&mut self, out: &mut Vec<Event>, unfinished: &mut Vec<Unfinished>) {
        while let Some(record) = self.events.next() {
            match Unfinished::decode(&record) {
                Some(rest) => unfinished.push(rest),
                None => out.push(decode::decode(&record).unwrap_or(Event::Undecodable)),
            }
        }
    }

    /// How many stacks and live blocks there is room for.
    #[must_use]
    pub const fn room(&self) -> (u32, u32) {
        (self.max_stacks, self.max_live)
    }

    /// Reads every table. A block that lives while this runs is seen exactly once.
    pub fn snapshot(&self) -> Result<Snapshot, LoadError> {
        let stacks = tables::read_all::<StackId, StackEntry>(self.fd("STACKS")?)
            .map_err(|source| table_error("STACKS", source))?;
        let blocks = self.blocks()?;
        let counters = tables::read_per_cpu::<[u64; COUNTERS]>(self.fd("COUNTERS")?)
            .map_err(|source| table_error("COUNTERS", source))?
            .into_iter()
            .fold([0; COUNTERS], |mut sums, cpu| {
                sums.iter_mut().zip(cpu).for_each(|(sum, value)| *sum += value);
                sums
            });
        Ok(Snapshot { at: clock::now(), stacks, blocks, samples: self.samples()?, counters })
    }

    /// Removes stacks that nothing will be counted on any more, and lets as many as were `unfinished` of them be sent
    /// again.
    pub fn forget_stacks(&self, stacks: &[StackId], unfinished: u64) -> Result<(), LoadError> {
        let table = self.fd("STACKS")?;
        for stack in stacks {
            match tables::remove(table, stack) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(table_error("STACKS", error));
                }
                _ => {}
            }
        }
        if unfinished == 0 {
            return Ok(());
        }
        // The kernel side may take one in between, which is given back then too: the bound is not that sharp.
        let left = self.fd("UNFINISHED_LEFT")?;
        let is_left = |source| table_error("UNFINISHED_LEFT", source);
        let now: i64 = tables::read(left, 0).map_err(is_left)?;
        tables::insert(left, &0u32, &now.saturating_add_unsigned(unfinished)).map_err(is_left)
    }

    /// Removes blocks whose process is gone (exec), so that they do not fill the table.
    pub fn forget<'a>(&self, blocks: impl IntoIterator<Item = &'a BlockKey>) -> Result<(), LoadError> {
        let live = self.fd("LIVE")?;
        for block in blocks {
            removed("LIVE", tables::remove(live, block))?;
        }
        Ok(())
    }
}

/// An entry that was not there is as good as removed.
pub(super) fn removed(table: &'static str, result: std::io::Result<()>) -> Result<(), LoadError> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(table_error(table, error)),
        _ => Ok(()),
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

/// Numbers from here on are given out by the kernel side, to what execs and to followed children: those below, to what the
/// agent finds by itself, are more than a machine begins in a year.
const FIRST_KERNEL_PROCESS: u64 = 1 << 30;

/// This part of all stacks may be ones that the agent has to finish: each call has one of its own, or nearly.
const UNFINISHED_PART: u32 = 8;

pub(super) fn table_error(table: &'static str, source: std::io::Error) -> LoadError {
    LoadError::Table { table, source }
}
