//! One trace: the processes, their probes, and everything that is heard about them put into the books.

mod admission;
mod begin;
mod disuse;
mod files;
mod leavings;
mod lives;
mod pausing;
mod snapshot;
mod unfinished;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use leaktrace_common::{
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{StackEntry, StackId},
};

pub(super) use self::admission::Found;
use self::{admission::Admission, leavings::Leavings};
use super::{
    Failure,
    engines::Engines,
    probes::Probes,
    spaces::Spaces,
    unwinding::Unwinding,
    watch::{Ends, Watched},
};
use crate::{
    attribute::Place,
    event::{self, BinaryId, Collection, Event, ProcessEvent, Unfinished},
    kernel::{
        Kernel, clock,
        features::Missing,
        mapped::{Mapped, MappedEvents},
    },
    ledger::Ledger,
    process::{Identity, Selection},
    record::Recorder,
    report::Watch,
    symbolize::{Names, SymbolThread, TypeOf},
};

/// How often the rings are read. They hold far more than comes in between, so nothing is woken by an event.
const TICK: Duration = Duration::from_millis(10);
/// The same while a program starts.
const STARTING_TICK: Duration = Duration::from_millis(1);
/// How long after its exec a program is taken to start, in nanoseconds.
const SETTLING: u64 = 1_000_000_000;

/// A process that is traced now.
struct Target {
    pid: NonZeroU32,
    process: ProcessId,
    /// None of a child that had ended before it could be watched.
    watched: Option<Watched>,
    /// As its end is told.
    key: u64,
}

/// What is said on stderr while tracing, besides the report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A file with an allocator was mapped after tracing began.
    AttachedLate {
        pid: u32,
        file: String,
        functions: usize,
    },
    /// A child of a traced process that is not traced.
    NotFollowed {
        parent: u32,
        child: u32,
    },
    Exec {
        pid: u32,
        comm: String,
    },
    /// A process's unwind tables could not be kept, and why.
    NoTables(String),
    /// A function that hands out or takes memory without a probe, and why.
    Unseen(String),
}

pub(super) struct Session {
    kernel: Kernel,
    mapped: MappedEvents,
    spaces: Spaces,
    probes: Probes,
    unwinding: Unwinding,
    engines: Engines,
    pub(super) ledger: Ledger,
    pub(super) symbols: SymbolThread,
    recorder: Option<Recorder<File>>,
    targets: Vec<Target>,
    ends: Ends,
    next_key: u64,
    /// Whether there is a target that cannot be watched.
    has_unwatched: bool,
    follow: bool,
    /// Of a trace of all processes: which of them.
    admission: Option<Admission>,
    next_process: u32,
    /// Whether return probes pass a seccomp filter on this kernel, once that was tried.
    pass_seccomp: Option<bool>,
    /// Running processes whose tracing has not begun yet.
    prepared: Vec<(ProcessId, Identity)>,
    /// A program that has not begun yet: its first exec is its birth, not its end.
    unborn: HashMap<ProcessId, String>,
    /// Since when the rings may hold more than was read of them: what makes a process known may be in them by now.
    rings_read: u64,
    /// Mapping events that were lost and made good for.
    mappings_lost: u64,
    /// Processes whose mappings have changed, with their pids.
    remapped: HashMap<ProcessId, u32>,
    /// How many stacks of each process were sent to be finished: so many of them is the kernel side's budget less.
    unfinished: HashMap<ProcessId, u64>,
    /// Of each stack what ended while native memory was not watched, and how many blocks are not followed any more.
    ended_unheard: HashMap<StackId, StackEntry>,
    unfollowed: u64,
    /// Of processes with more mappings than their tables hold: how many it were when /proc was asked last.
    crowded: HashMap<ProcessId, usize>,
    pub(super) notices: Vec<Notice>,
    /// With `--watch`: why the process is traced.
    pub(super) watch: Option<Watch>,
    /// Collections of JavaScript heaps that nobody has judged by yet, and whether a whole one was among those that were.
    pub(super) collections: Vec<Collection>,
    pub(super) collected: bool,
    /// JavaScript heaps that ended since somebody asked.
    pub(super) heaps_ended: Vec<(ProcessId, u64)>,
    /// Until when, on the kernel side's clock, new programs are likely to map libraries.
    settling: u64,
    leavings: Leavings,
    /// Forks that nobody asked to follow.
    pub(super) not_followed: u64,
    /// Read from the rings, and not in the books yet.
    events: Vec<Event>,
    changes: Vec<Mapped>,
    rests: Vec<Unfinished>,
}

impl Session {
    pub(super) fn new(
        mut kernel: Kernel,
        probes: Probes,
        follow: bool,
        selection: Option<(Selection, Duration)>,
        engines: Engines,
        recorder: Option<Recorder<File>>,
    ) -> Result<Self, Failure> {
        let mapped = MappedEvents::open().map_err(|source| match Missing::perf_events(&source) {
            Some(missing) => Failure::Load(missing.into()),
            None => Failure::Io { doing: "listening for mappings (perf_event_open)", source },
        })?;
        let unwinding = Unwinding::new(&mut kernel)?;
        Ok(Self {
            kernel,
            mapped,
            unwinding,
            engines,
            spaces: Spaces::default(),
            probes,
            ledger: Ledger::new(clock::page_size()),
            symbols: SymbolThread::start()?,
            recorder,
            targets: Vec::new(),
            ends: Ends::new()
                .map_err(|source| Failure::Io { doing: "listening for ends (epoll)", source })?,
            next_key: 0,
            has_unwatched: false,
            follow,
            admission: selection.map(|(selection, kept)| Admission::new(selection, kept)),
            next_process: 1,
            pass_seccomp: None,
            prepared: Vec::new(),
            unborn: HashMap::new(),
            rings_read: 0,
            mappings_lost: 0,
            remapped: HashMap::new(),
            unfinished: HashMap::new(),
            ended_unheard: HashMap::new(),
            unfollowed: 0,
            crowded: HashMap::new(),
            notices: Vec::new(),
            watch: None,
            collections: Vec::new(),
            collected: false,
            heaps_ended: Vec::new(),
            settling: clock::now() + SETTLING,
            leavings: Leavings::default(),
            not_followed: 0,
            events: Vec::new(),
            changes: Vec::new(),
            rests: Vec::new(),
        })
    }

    /// Nothing is recorded any more; what was stays readable.
    pub(super) fn freeze(&mut self) -> Result<(), Failure> {
        for target in &self.targets {
            self.kernel.untrace(target.pid.get())?;
        }
        // To make the report takes a while, and each call would trap for nothing.
        self.probes.lift(&Arc::new(()));
        self.listen()
    }

    /// When to look again: soon where a program has just started, whose first stacks wait for its tables.
    pub(super) fn pace(&self) -> Duration {
        // Where every process is traced there is always one that starts.
        if clock::now() < self.settling && self.admission.is_none() { STARTING_TICK } else { TICK }
    }

    /// Whether a process that the user chose, or a child of one, still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.admission.is_some() || !self.targets.is_empty()
    }

    /// The short name of a process that was added.
    pub(super) fn comm_of(&self, pid: NonZeroU32) -> &str {
        let known = self.prepared.iter().find(|(_, identity)| identity.pid == pid.get());
        known.map_or("", |(_, identity)| &identity.comm)
    }

    /// Takes in what happened since the last call.
    pub(super) fn listen(&mut self) -> Result<(), Failure> {
        self.hear()?;
        self.reap()
    }

    /// Empties the rings, and asks no process: one that has just begun may hold its locks for long where CPUs are scarce. What
    /// was in them is taken in with the next call of [`Self::listen`].
    pub(super) fn drain(&mut self) {
        // The mappings last: one is told of before code in it runs, so whatever a stack here needs is among them by then.
        self.rings_read = clock::now();
        self.kernel.drain(&mut self.events, &mut self.rests);
        self.mapped.drain(&mut self.changes);
    }

    fn hear(&mut self) -> Result<(), Failure> {
        self.drain();
        let events = std::mem::take(&mut self.events);
        let changes = std::mem::take(&mut self.changes);
        self.spaces.turn();
        if self.mapped.lost > self.mappings_lost {
            self.spaces.missed(clock::now());
        }
        let mut lives = self.follow_lives(&events, changes.into_iter())?;
        for event in events {
            match event {
                Event::Process(ProcessEvent::Fork { .. } | ProcessEvent::Exec { .. }) => {
                    for event in lives.pop_front().unwrap_or_default() {
                        self.say(&event);
                    }
                }
                // The main thread's end need not be the process's: `reap` sees that.
                Event::Process(ProcessEvent::Exit { .. }) => {}
                Event::Stack(stack) => {
                    let stack = self.cut_where_doubtful(stack);
                    self.say(&Event::Stack(stack));
                }
                event => self.say(&event),
            }
        }
        let rests = std::mem::take(&mut self.rests);
        self.finish(&rests);
        self.admit_candidates()?;
        // Before a worker ends, with which go its functions.
        self.engines.retry(&self.kernel);
        self.refresh_mappings()?;
        for (process, pid) in std::mem::take(&mut self.remapped) {
            self.make_room(process, pid)?;
            self.update_tables(process, pid);
        }
        Ok(())
    }

    /// A block that lives now.
    pub(super) fn live_block(&self, process: ProcessId, address: u64) -> Option<Block> {
        self.kernel.block(BlockKey::new(process, address))
    }

    /// Whether a hook sits in glibc's malloc.
    pub(super) fn is_of_glibc(&self, hook: u16) -> bool {
        self.probes.is_of_glibc(hook)
    }

    /// Files of processes with a JavaScript engine: what is the engine's own is told by names.
    pub(super) fn files_of_engines(&self) -> HashSet<BinaryId> {
        let mappings = self.ledger.engines().flat_map(|engine| self.ledger.mappings(engine.process));
        mappings.filter_map(event::Mapping::binary).collect()
    }

    /// Names what is JavaScript: frames at `places`, and the types of samples.
    pub(super) fn name_javascript(&mut self, places: &[Place], names: &mut Names) {
        self.engines.retry(&self.kernel);
        self.engines.name(places, names);
        let samples = self.ledger.samples();
        let types: HashSet<(ProcessId, TypeOf)> =
            samples.map(|(process, sample)| (process, TypeOf::of(sample))).collect();
        for (process, of) in types {
            if let Some(name) = self.engines.name_type(process, of) {
                names.insert_type(process, of, name);
            }
        }
        names.set_unread(self.engines.losses());
    }

    /// Tells the books of engines that are not as their binaries say.
    fn check_engines(&mut self) {
        for engine in self.engines.check(&self.kernel) {
            self.say(&Event::Engine(engine));
        }
    }

    fn say(&mut self, event: &Event) {
        if let Event::Mappings(mappings) = event
            && let Some(pid) = self.pid_of(mappings.process)
        {
            self.remapped.insert(mappings.process, pid);
        }
        if let Some(recorder) = &mut self.recorder {
            // The recording is for tests; a full disk shows at its end.
            let _ = recorder.event(event);
        }
        self.engines.hear(event);
        match event {
            Event::Collection(collection) => self.collections.push(*collection),
            Event::HeapEnded { process, heap } => self.heaps_ended.push((*process, *heap)),
            _ => {}
        }
        self.ledger.apply(event);
    }

    /// Of a process that can still be asked.
    fn pid_of(&self, process: ProcessId) -> Option<u32> {
        let is_it = |target: &&Target| target.process == process && target.watched.is_some();
        self.targets.iter().find(is_it).map(|target| target.pid.get())
    }

    fn number(&mut self) -> ProcessId {
        let id = ProcessId(self.next_process);
        self.next_process += 1;
        id
    }
}
