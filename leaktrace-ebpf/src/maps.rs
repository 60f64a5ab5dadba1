//! Every map, with the reason for its size.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{self, ArrayOfMaps},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use leaktrace_common::{
    counter::COUNTERS as COUNTER_COUNT,
    live::{Block, BlockKey},
    process::ProcessEntry,
    stack::{StackEntry, StackId},
    unwind::{ARENA_CHUNKS, CHUNK_WORDS, ProcessTable},
};

use crate::{calls::Call, scratch::Scratch, unwind::RuleCache};

/// tgid -> traced process. What is not in here is ignored by every program, so the agent starts and stops all
/// probes at one moment by one entry. As many as `pid_max` of a busy machine has processes.
#[map]
pub static PROCESSES: HashMap<u32, ProcessEntry> = HashMap::with_max_entries(16_384, 0);

/// Live blocks. Not preallocated: an entry takes 96 bytes only while its block lives. The agent sets the size
/// (`--max-live`); the buckets alone take 16 bytes an entry.
#[map]
pub static LIVE: HashMap<BlockKey, Block> = HashMap::with_max_entries(1 << 21, BPF_F_NO_PREALLOC);

/// What each stack allocated and freed. The agent sets the size (`--max-stacks`).
#[map]
pub static STACKS: HashMap<StackId, StackEntry> = HashMap::with_max_entries(1 << 17, BPF_F_NO_PREALLOC);

/// pid_tgid -> the allocator call that this thread is in. An entry stays until its thread ends, so that a call
/// costs one look-up and no insert. One a thread: 64 k threads are more than a process has.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Where stacks are built: they do not fit the 512-byte stack of a BPF program. Eight a CPU, as a program
/// can be preempted by another task that runs one too.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(8, 0);

/// What the agent has to know once: stacks, mappings, process events. New stacks are rare after the first
/// second; 8 MiB hold 4,000 of the deepest.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// See `leaktrace_common::counter`.
#[map]
pub static COUNTERS: PerCpuArray<[u64; COUNTER_COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// The next `ProcessId` that the kernel side gives out (after an exec, and to followed children).
#[map]
pub static NEXT_PROCESS: Array<u64> = Array::with_max_entries(1, 0);

/// Memory of the unwind tables, see `leaktrace_common::unwind`: the agent adds chunks as it needs them, maps them
/// and writes without a system call. Chunks are maps of their own because a map cannot grow.
#[btf_map]
pub static ARENA: ArrayOfMaps<
    btf_maps::Array<[u32; CHUNK_WORDS], 1, { BPF_F_MMAPABLE as usize }>,
    ARENA_CHUNKS,
> = ArrayOfMaps::new();

/// ProcessId -> its unwind tables. Not preallocated: few processes are traced at a time.
#[map]
pub static UNWIND_TABLES: HashMap<u32, ProcessTable> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Rules found before, 256 KiB: as much as a core's second-level cache.
#[map]
pub static RULE_CACHE: Array<RuleCache> = Array::with_max_entries(1, 0);
