//! Every map, with the reason for its size.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{self, ArrayOfMaps},
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, Queue, RingBuf},
};
use leaktrace_common::{
    counter::COUNTERS as COUNTER_COUNT,
    live::{Block, BlockKey},
    process::ProcessEntry,
    stack::{StackEntry, StackId},
    unwind::{ARENA_CHUNKS, CHUNK_WORDS, ProcessTable},
    v8::{FunctionOf, Heap, HeapKey, Layout, SAMPLES, Sample, Sighting, Window},
};

use crate::{
    calls::Call,
    scratch::Scratch,
    unwind::RuleCache,
    v8::{FunctionCache, Thread},
};

/// tgid -> traced process. What is not in here is ignored by every program, so the agent starts and stops all
/// probes at one moment by one entry. As many as `pid_max` of a busy machine has processes.
#[map]
pub static PROCESSES: HashMap<u32, ProcessEntry> = HashMap::with_max_entries(16_384, 0);

/// Since when native memory is watched, in nanoseconds of `CLOCK_MONOTONIC`; [`leaktrace_common::live::PAUSED`] while it is
/// not. The agent writes it, and so stops and starts the probes of all processes at one moment.
#[map]
pub static WATCHED_SINCE: Array<u64> = Array::with_max_entries(1, 0);

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

/// How many more stacks may be sent for the agent to finish, each of which has an id of its own in `STACKS`. The
/// agent starts it with a part of `--max-stacks`, so that code which never gets tables cannot fill that map.
#[map]
pub static UNFINISHED_LEFT: Array<i64> = Array::with_max_entries(1, 0);

/// ProcessId -> its unwind tables. Not preallocated: few processes are traced at a time.
#[map]
pub static UNWIND_TABLES: HashMap<u32, ProcessTable> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Rules found before, 256 KiB: as much as a core's second-level cache.
#[map]
pub static RULE_CACHE: Array<RuleCache> = Array::with_max_entries(1, 0);

/// ProcessId -> where things lie in its V8. Those of many machines' worth of node processes.
#[map]
pub static V8_LAYOUTS: HashMap<u32, Layout> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// When refills of V8's allocation areas are looked at; the agent writes it.
#[map]
pub static V8_WINDOW: Array<Window> = Array::with_max_entries(1, 0);

/// Where each JavaScript function that a stack showed was seen last: as many as a large program has, 6 MiB. Those of
/// isolates and processes that have ended give way by themselves; one that is seen again after it gave way is sent again.
#[map]
pub static V8_FUNCTIONS: LruHashMap<FunctionOf, Sighting> = LruHashMap::with_max_entries(1 << 16, 0);

/// Functions and constructors found before, 128 KiB.
#[map]
pub static V8_FUNCTION_CACHE: Array<FunctionCache> = Array::with_max_entries(1, 0);

/// pid_tgid -> the collection or allocation that this thread is in, and the areas that it allocates from. Threads with an
/// isolate of their own are few, and each process has some that help V8.
#[map]
pub static V8_THREADS: HashMap<u64, Thread> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// A thread of which nothing is known, to be copied: it does not fit the stack of a BPF program.
#[map]
pub static V8_NEW_THREAD: Array<Thread> = Array::with_max_entries(1, 0);

/// V8's heaps, one an isolate.
#[map]
pub static V8_HEAPS: HashMap<HeapKey, Heap> = HashMap::with_max_entries(1 << 13, BPF_F_NO_PREALLOC);

/// Every sample that lives, of all processes. The first is never used: its number ends a list.
#[map]
pub static V8_SAMPLES: Array<Sample> = Array::with_max_entries(SAMPLES, 0);

/// Numbers of samples that were used and are free again.
#[map]
pub static V8_FREE: Queue<u32> = Queue::with_max_entries(SAMPLES, 0);

/// How many numbers of samples were given out that had never been used.
#[map]
pub static V8_USED: Array<u64> = Array::with_max_entries(1, 0);

/// A map's value that was compared with null, and whose address LLVM therefore must not have calculated with before:
/// kernels up to 6.12 refuse that. (Newer ones know that an array's value is there.)
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through it")]
pub fn compared<T>(mut value: *mut T) -> *mut T {
    // SAFETY: one instruction on one register, which it leaves as it is.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack)) };
    value
}
