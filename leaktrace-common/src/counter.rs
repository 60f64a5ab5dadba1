//! Every way in which tracing can lose, skip or doubt something: one number each, shown in every report.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $index:literal, $kind:ident, $label:literal;)*) => {
        /// Index into the one value of the per-CPU kernel map `COUNTERS`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter { $($(#[$doc])* $name = $index,)* }

        impl Counter {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether a number above zero makes live bytes inexact.
            #[must_use]
            pub const fn kind(self) -> Kind { match self { $(Self::$name => Kind::$kind,)* } }

            /// The words of the report.
            #[must_use]
            pub const fn label(self) -> &'static str { match self { $(Self::$name => $label,)* } }

            /// The key in JSON and metrics.
            #[must_use]
            pub const fn key(self) -> &'static str { match self { $(Self::$name => stringify!($name),)* } }
        }
    };
}

/// What a counter says about the numbers beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something was seen and not recorded: live bytes are inexact by it.
    Lost,
    /// Recorded, but with a part missing or guessed.
    Doubt,
    /// Normal, said for completeness.
    Seen,
}

counters! {
    /// A block was handed out and the table of live blocks had no room for it.
    LiveFull = 0, Lost, "allocations lost: table of live blocks full (raise --max-live)";
    /// A thread entered an allocator and the table of calls had no room.
    CallsFull = 1, Lost, "calls lost: more threads than the table of calls in progress holds";
    /// `posix_memalign` succeeded and its result could not be read.
    ResultUnreadable = 2, Lost, "allocations lost: result of posix_memalign unreadable";
    /// mmap, munmap or mremap event that found the ring full.
    RingFull = 3, Lost, "mmap events lost: ring buffer full";
    /// A call never returned through its return probe: longjmp, thread exit, signal.
    CallAbandoned = 4, Doubt, "calls left without returning (longjmp, thread exit)";
    /// Stack table full: the block counts, under an unknown stack.
    StacksFull = 5, Doubt, "stacks unknown: stack table full (raise --max-stacks)";
    /// Two stacks with one id.
    StackCollision = 6, Doubt, "stacks unknown: two stacks with the same id";
    /// Every scratch slot of the CPU was taken by preempted probes.
    ScratchBusy = 7, Doubt, "stacks unknown: no scratch space on this CPU";
    /// A new stack found the ring full; it is sent again at its next hit.
    StackDelayed = 8, Seen, "new stacks sent late: ring buffer full";
    /// An allocation at an address that was live: its free was missed.
    ImplicitFree = 9, Doubt, "frees missed (an address was handed out again)";
    /// A free of an address not in the table. glibc frees what an ended thread's cache holds once more, too.
    FreeUnknown = 10, Seen, "frees of blocks not seen allocated (from before tracing, filtered, or an ended thread's cache)";
    /// malloc and friends returned null.
    AllocFailed = 11, Seen, "allocations that failed";
    /// A call made inside another call of the same allocator, counted once.
    Nested = 12, Seen, "nested allocator calls, counted once";
    /// Outside `--min-size` and `--max-size`.
    SizeFiltered = 13, Seen, "allocations outside --min-size and --max-size";
    /// A sample of the JavaScript heap was due and the table of samples had no room.
    SamplesFull = 14, Lost, "JavaScript samples lost: table of samples full (raise --js-interval)";
    /// Bytes that a thread allocated which no collection has shown to run an isolate, with no JavaScript on its stack:
    /// V8's helper threads, which copy what survives, and workers that are starting.
    BytesOfNoHeap = 15, Seen, "bytes of JavaScript heaps not sampled: taken by V8's helper threads or a starting worker";
    /// A sampled object's memory could not be read at a collection: taken for dead.
    SampleUnreadable = 16, Doubt, "JavaScript samples taken for dead: memory unreadable";
    /// A collection record that found the ring full.
    CollectionLost = 17, Doubt, "garbage collections not shown: ring buffer full";
    /// A table of V8's threads, heaps or allocators was full.
    V8Full = 18, Lost, "JavaScript samples lost: too many threads, isolates or allocation areas";
    /// A frame of JavaScript whose function could not be read.
    FunctionUnread = 19, Doubt, "JavaScript frames without a function: memory unreadable, or the function on the move";
    /// A JavaScript function was seen and could not be told.
    FunctionDelayed = 20, Seen, "JavaScript functions sent late: ring buffer or table full";
    /// An allocator of V8 whose area is not where this version is known to have it.
    AreaUnlike = 21, Lost, "JavaScript samples lost: V8's allocation areas are not as known of this version";
    /// A stack met code without tables, and what the agent would finish it by could not be sent: ring or
    /// budget full. It stays as short as it is.
    StackUnfinished = 22, Doubt, "stacks cut short: unwind tables came too late, no room to keep the rest";
    /// A file with code that could not be opened or read, or had no room: the stacks through it are marked as guesses.
    /// Counted by the agent, as the two below.
    UnwindUnread = 23, Seen, "mappings of files whose unwind information could not be read";
    /// A process with more mappings than its tables hold.
    UnwindLeftOut = 24, Doubt, "mappings without unwind tables: a process has more of code than 4095";
    /// The kernel dropped records of mappings. /proc was read instead.
    MappingsLost = 25, Seen, "records of mappings lost, mappings read again";
    /// Two functions may have one key: more isolates, scripts or literals than keys tell apart.
    FunctionAmbiguous = 26, Doubt, "JavaScript functions that may have another's name: more isolates or scripts than are told apart";
    /// An allocation at the address of a block that was freed while native memory was not watched.
    FreedUnwatched = 27, Seen, "frees while no probe stood, told by their address that was handed out again";
    /// Between two windows a block's memory changed, so that it may be another one by now. Counted by the agent.
    Unfollowed = 28, Seen, "blocks not followed any more: their memory changed while no probe stood, so they may be others by now";
}

/// Length of the value of the map `COUNTERS`.
pub const COUNTERS: usize = Counter::ALL.len();
