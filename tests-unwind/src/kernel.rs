//! The kernel side loaded with its test programs.

#![allow(unsafe_code, reason = "records go to maps as plain bytes")]

use std::path::Path;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, MapData, PerCpuArray, RingBuf},
    programs::{
        Program, UProbe,
        uprobe::{UProbeAttachLocation, UProbeScope},
    },
};
use leaktrace::{
    kernel::{
        btf::Btf,
        unwind_maps::{self, UnwindEntries, UnwindMemory},
    },
    unwind::tables::Tables,
};
use leaktrace_common::{
    config::{self, KERNEL_OFFSETS},
    counter::{COUNTERS, Counter},
    process::{ProcessEntry, ProcessId},
};

/// A value that goes to a map byte by byte.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: only records of leaktrace-common are wrapped, which have no padding and no pointers.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// Everything loaded, nothing attached.
pub struct Kernel {
    ebpf: Ebpf,
    traced: HashMap<MapData, u32, Plain<ProcessEntry>>,
    pub tables: Tables<UnwindMemory, UnwindEntries>,
    pub events: RingBuf<MapData>,
}

/// Bytes of the ring in these tests, which send whole stacks all the time.
const RING: u32 = 64 << 20;

impl Kernel {
    /// Loads the object at `path`, which has to be built with the feature `truth`.
    pub fn load(path: &Path) -> Result<Self> {
        let btf = Btf::of_kernel()?;
        let offsets: Vec<(&str, u64)> = KERNEL_OFFSETS
            .iter()
            .map(|(name, structure, member)| Ok((*name, u64::from(btf.offset_of(structure, member)?))))
            .collect::<Result<_>>()?;
        let mut loader = EbpfLoader::new();
        for (name, value) in &offsets {
            loader.override_global(name, value, true);
        }
        loader.override_global(config::MIN_SIZE, &0u64, true);
        loader.override_global(config::MAX_SIZE, &u64::MAX, true);
        loader.map_max_entries("EVENTS", RING);
        let mut ebpf = loader.load_file(path).with_context(|| format!("loading {}", path.display()))?;
        let (memory, entries) = unwind_maps::take(&mut ebpf)?;
        let mut take = |name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let traced = HashMap::try_from(take("PROCESSES")?)?;
        let events = RingBuf::try_from(take("EVENTS")?)?;
        let tables = Tables::new(memory, entries);
        Ok(Self { ebpf, traced, tables, events })
    }

    /// Loads a program and returns how many instructions the verifier followed.
    pub fn verify(&mut self, program: &str) -> Result<Option<u32>> {
        let name = program;
        let info = match self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))? {
            Program::RawTracePoint(program) => {
                program.load().with_context(|| format!("loading {name}"))?;
                program.info()?
            }
            _ => self.program(name)?.info()?,
        };
        Ok(info.verified_instruction_count())
    }

    /// Attaches a program to a symbol of a file, in all processes.
    pub fn attach(&mut self, program: &str, symbol: &str, file: &Path) -> Result<()> {
        let location = UProbeAttachLocation::Symbol(symbol);
        self.program(program)?
            .attach(location, file, UProbeScope::AllProcesses)
            .with_context(|| format!("attaching {program} to {symbol} of {}", file.display()))?;
        Ok(())
    }

    /// Removes all probes of a program.
    pub fn detach(&mut self, program: &str) -> Result<()> {
        self.program(program)?.unload()?;
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut UProbe> {
        let program: &mut UProbe =
            self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("loading {name}"))?;
        }
        Ok(program)
    }

    /// Traces a process under this id.
    pub fn trace(&mut self, tgid: u32, id: ProcessId) -> Result<()> {
        Ok(self.traced.insert(tgid, Plain(ProcessEntry { id, flags: 0 }), 0)?)
    }

    /// A counter, over all CPUs.
    pub fn counter(&self, counter: Counter) -> Result<u64> {
        let map = self.ebpf.map("COUNTERS").context("no map COUNTERS")?;
        let counters: PerCpuArray<_, [u64; COUNTERS]> = PerCpuArray::try_from(map)?;
        Ok(counters.get(&0, 0)?.iter().map(|of_cpu| of_cpu[counter as usize]).sum())
    }
}
