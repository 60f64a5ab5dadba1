//! What the agent is told: the kernel side's records, decoded. Everything from here to the report is pure.

pub mod decode;
mod javascript;
mod mapping;
mod source;
mod unfinished;

pub use javascript::{Collection, Engine, Function};
use leaktrace_common::{
    counter::COUNTERS,
    hook::Shape,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{StackEntry, StackId, StopReason},
    v8::Sample,
};
pub use mapping::{Backing, Binary, BinaryId, FileOffset, Hooked, Mapping, Mappings, Traced, lay_over};
pub use source::{Progress, Source};
pub use unfinished::Unfinished;

/// Something that happened, in the order in which the kernel side said it, or that the agent found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Stack(Stack),
    Region(Region),
    Process(ProcessEvent),
    /// A record that [`decode::decode`] refused.
    Undecodable,
    Traced(Traced),
    Mappings(Mappings),
    Binary(Binary),
    Hooked(Hooked),
    Engine(Engine),
    Function(Function),
    Collection(Collection),
    /// Native memory is not watched from then on, or is again, in nanoseconds of `CLOCK_MONOTONIC`; by then the processes had
    /// used the CPU for themselves for so many.
    Paused {
        at: u64,
        work: u64,
    },
    Resumed {
        at: u64,
        work: u64,
    },
    /// The same with no change.
    Worked {
        at: u64,
        work: u64,
    },
    InUse(InUse),
    /// An isolate has ended, and with its heap all samples in it.
    HeapEnded {
        process: ProcessId,
        heap: u64,
    },
}

/// A stack, seen for the first time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    pub id: StackId,
    pub process: ProcessId,
    pub tgid: u32,
    /// Number of the hook that took it, in the list of attached hooks.
    pub hook: u16,
    pub stop: StopReason,
    /// Packed [`leaktrace_common::v8::Word`]s, most of them return addresses; the allocator's caller first.
    pub words: Vec<u64>,
}

/// What the allocator itself says of some sizes, of blocks that were watched and of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct InUse {
    pub process: ProcessId,
    /// In nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// By size, without overlaps.
    pub sizes: Vec<SizeInUse>,
}

/// Blocks of like size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeInUse {
    /// Least and largest bytes.
    pub from: u64,
    pub to: u64,
    /// In use at the most.
    pub most: u64,
    /// In use by what the allocator makes for that size, nearly always.
    pub usual: u64,
}

/// A mapping was made, removed or moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    pub process: ProcessId,
    pub shape: Shape,
    /// `mmap`'s flags and protection bits.
    pub flags: u32,
    pub protection: u32,
    pub address: u64,
    pub length: u64,
    pub old_address: u64,
    pub old_length: u64,
    pub stack: StackId,
    /// Nanoseconds of `CLOCK_MONOTONIC`, at entry and return of the call.
    pub entered: u64,
    pub returned: u64,
}

/// Something happened to a process as such; times in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProcessEvent {
    /// `before` is gone with all its memory; `process` is what runs now.
    Exec { tgid: u32, before: ProcessId, process: ProcessId, at: u64 },
    /// `process` is none where children are not followed.
    Fork { parent_tgid: u32, parent: ProcessId, tgid: u32, process: Option<ProcessId>, at: u64 },
    /// The main thread ended.
    Exit { tgid: u32, process: ProcessId, at: u64 },
}

/// The kernel side's tables at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    pub stacks: Vec<(StackId, StackEntry)>,
    pub blocks: Vec<(BlockKey, Block)>,
    /// What lives of the samples of JavaScript heaps.
    pub samples: Vec<Sample>,
    /// Indexed by `leaktrace_common::counter::Counter`, summed over CPUs.
    pub counters: [u64; COUNTERS],
}
