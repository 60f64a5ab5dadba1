//! One trace: the processes, their probes, and everything that is heard about them put into the books.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use leaktrace_common::{
    live::BlockKey,
    process::{FOLLOW, ProcessId},
};

use super::{
    Failure,
    probes::{Attached, Probes},
    spaces::{Space, Spaces},
    unwinding::Unwinding,
    watch::Watched,
};
use crate::{
    event::{self, Backing, BinaryId, Event, FileOffset, ProcessEvent},
    kernel::{
        Kernel, clock,
        mapped::{Change, Mapped, MappedEvents},
    },
    ledger::{Ledger, State},
    process::{Device, Identity, Mapping, MappingKind, Mappings, OpenBinary},
    record::Recorder,
    symbolize::SymbolThread,
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
    watched: Watched,
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
    pub(super) ledger: Ledger,
    pub(super) symbols: SymbolThread,
    recorder: Option<Recorder<File>>,
    targets: Vec<Target>,
    follow: bool,
    next_process: u32,
    /// Running processes whose tracing has not begun yet.
    prepared: Vec<(ProcessId, Identity)>,
    /// A program that has not begun yet: its first exec is its birth, not its end.
    unborn: HashMap<ProcessId, String>,
    /// Children that had ended before they could be watched.
    gone: Vec<(u32, ProcessId)>,
    /// Mapping events that were lost and made good for.
    mappings_lost: u64,
    /// Processes whose mappings have changed, with their pids.
    remapped: HashMap<ProcessId, u32>,
    pub(super) notices: Vec<Notice>,
    /// Until when, on the kernel side's clock, new programs are likely to map libraries.
    settling: u64,
    /// Forks that nobody asked to follow.
    pub(super) not_followed: u64,
    events: Vec<Event>,
    changes: Vec<Mapped>,
}

impl Session {
    pub(super) fn new(
        mut kernel: Kernel,
        probes: Probes,
        follow: bool,
        recorder: Option<Recorder<File>>,
    ) -> Result<Self, Failure> {
        let mapped = MappedEvents::open()
            .map_err(|source| Failure::Io { doing: "listening for mappings (perf_event_open)", source })?;
        let unwinding = Unwinding::new(&mut kernel)?;
        Ok(Self {
            kernel,
            mapped,
            unwinding,
            spaces: Spaces::default(),
            probes,
            ledger: Ledger::new(clock::page_size()),
            symbols: SymbolThread::start()?,
            recorder,
            targets: Vec::new(),
            follow,
            next_process: 1,
            prepared: Vec::new(),
            unborn: HashMap::new(),
            gone: Vec::new(),
            mappings_lost: 0,
            remapped: HashMap::new(),
            notices: Vec::new(),
            settling: clock::now() + SETTLING,
            not_followed: 0,
            events: Vec::new(),
            changes: Vec::new(),
        })
    }

    /// Prepares a running process: finds its files, places the probes. It is recorded from [`Self::begin`] on.
    pub(super) fn add_running(&mut self, pid: NonZeroU32) -> Result<Vec<(String, Attached)>, Failure> {
        let watched = watch(pid)?;
        let identity = Identity::of(pid.get())?;
        let mappings = Mappings::read(pid.get())?;
        let process = self.number();
        let mut files = Vec::new();
        let mut list = Vec::new();
        for mapping in mappings.iter().filter(|mapping| mapping.executable) {
            if let Some((mapped, file)) = self.place(pid.get(), mapping) {
                list.push(mapped);
                files.extend(file);
            }
        }
        let attached = self.attach_all(pid, &identity.comm, files)?;
        if !identity.still_the_same() {
            return Err(Failure::EndedBefore { pid: pid.get() });
        }
        self.spaces.watch(pid.get(), process, &identity.comm, list.clone());
        self.say(Event::Mappings(event::Mappings { process, list }));
        self.update_tables(process, pid.get());
        self.targets.push(Target { pid, process, watched });
        self.prepared.push((process, identity));
        Ok(attached)
    }

    /// Prepares a program that waits before its exec; `files` are what it will map.
    pub(super) fn add_waiting(
        &mut self,
        pid: NonZeroU32,
        command: &str,
        files: impl IntoIterator<Item = OpenBinary>,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        let watched = watch(pid)?;
        let process = self.number();
        let files: Vec<BinaryId> = files.into_iter().map(|file| self.register(file)).collect();
        let attached = self.attach_all(pid, command, files.clone())?;
        if let Err(error) = self.unwinding.prepare(&files, &self.probes) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
        self.spaces.watch(pid.get(), process, "", Vec::new());
        self.unborn.insert(process, command.to_owned());
        self.targets.push(Target { pid, process, watched });
        Ok(attached)
    }

    /// A prefix that fits no function may be a typo, and then nothing of that allocator is seen.
    pub(super) fn warn_of_unmatched_prefixes(&mut self, prefixes: &[String]) {
        let unmatched = prefixes.iter().filter(|prefix| !self.probes.has_hook_with(prefix));
        self.notices.extend(unmatched.map(|prefix| {
            Notice::Unseen(format!("no function to probe is named {prefix}malloc, {prefix}free or the like"))
        }));
    }

    /// From now on everything is recorded, in all processes from the same moment on.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        let flags = if self.follow { FOLLOW } else { 0 };
        for target in &self.targets {
            self.kernel.trace(target.pid.get(), target.process, flags)?;
        }
        for (process, Identity { pid, comm, command, .. }) in std::mem::take(&mut self.prepared) {
            self.say(Event::Traced(event::Traced { process, pid, comm, command, at: clock::now() }));
        }
        Ok(())
    }

    /// Nothing is recorded any more; what was stays readable.
    pub(super) fn freeze(&mut self) -> Result<(), Failure> {
        for target in &self.targets {
            self.kernel.untrace(target.pid.get())?;
        }
        self.listen()
    }

    /// When to look again: soon where a program has just started, whose first stacks wait for its tables.
    pub(super) fn pace(&self) -> Duration {
        if clock::now() < self.settling { STARTING_TICK } else { TICK }
    }

    /// Whether a process that the user chose, or a child of one, still runs.
    pub(super) fn is_alive(&self) -> bool {
        !self.targets.is_empty()
    }

    /// The short name of a process that was added.
    pub(super) fn comm_of(&self, pid: NonZeroU32) -> &str {
        let known = self.prepared.iter().find(|(_, identity)| identity.pid == pid.get());
        known.map_or("", |(_, identity)| &identity.comm)
    }

    /// Hands over what runtimes wrote about the code they made; before each report, as they write on.
    pub(super) fn offer_perf_maps(&self) {
        for target in &self.targets {
            if let Some(file) = crate::process::perf_map(target.pid.get()) {
                // Without it such frames have no names, and the report says so.
                let _ = self.symbols.add_perf_map(target.process, file);
            }
        }
    }

    /// Takes in what happened since the last call.
    pub(super) fn listen(&mut self) -> Result<(), Failure> {
        // The rings first: a mapping is told of before code in it runs, so whatever a stack here needs is
        // in the mapping events by now.
        let mut events = std::mem::take(&mut self.events);
        let mut changes = std::mem::take(&mut self.changes);
        self.kernel.drain(&mut events);
        self.mapped.drain(&mut changes);
        let mut lives = self.follow_lives(&events, changes.drain(..))?;
        for event in events.drain(..) {
            match event {
                Event::Process(ProcessEvent::Fork { .. } | ProcessEvent::Exec { .. }) => {
                    for event in lives.pop_front().unwrap_or_default() {
                        self.say(event);
                    }
                }
                // The main thread's end need not be the process's: `reap` sees that.
                Event::Process(ProcessEvent::Exit { .. }) => {}
                event => self.say(event),
            }
        }
        (self.events, self.changes) = (events, changes);
        for (tgid, process) in std::mem::take(&mut self.gone) {
            self.kernel.untrace(tgid)?;
            self.ended(tgid, process);
        }
        self.refresh_mappings();
        for (process, pid) in std::mem::take(&mut self.remapped) {
            self.update_tables(process, pid);
        }
        self.reap()
    }

    /// Reads the kernel's tables into the books, and clears there what belongs to programs that are gone.
    pub(super) fn snapshot(&mut self) -> Result<(), Failure> {
        let snapshot = self.kernel.snapshot()?;
        let ended: HashSet<ProcessId> = self
            .ledger
            .processes()
            .filter(|process| process.state != State::Running)
            .map(|process| process.id)
            .collect();
        let of_ended: Vec<BlockKey> =
            snapshot.blocks.iter().map(|(key, _)| *key).filter(|key| ended.contains(&key.process)).collect();
        if let Some(recorder) = &mut self.recorder {
            recorder
                .snapshot(&snapshot)
                .map_err(|source| Failure::Io { doing: "writing the recording", source })?;
        }
        self.ledger.snapshot(snapshot);
        self.kernel.forget(&of_ended)?;
        Ok(())
    }

    fn say(&mut self, event: Event) {
        if let Event::Mappings(mappings) = &event
            && let Some(pid) = self.pid_of(mappings.process)
        {
            self.remapped.insert(mappings.process, pid);
        }
        if let Some(recorder) = &mut self.recorder {
            // The recording is for tests; a full disk shows at its end.
            let _ = recorder.event(&event);
        }
        self.ledger.apply(&event);
    }

    /// The process has mapped something: so must its unwind tables.
    fn update_tables(&mut self, process: ProcessId, pid: u32) {
        let mappings = self.ledger.mappings(process);
        if let Err(error) = self.unwinding.update(process, pid, mappings, &self.probes) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
    }

    fn drop_tables(&mut self, process: ProcessId) {
        self.remapped.remove(&process);
        if let Err(error) = self.unwinding.remove(process) {
            self.notices.push(Notice::NoTables(error.to_string()));
        }
    }

    fn pid_of(&self, process: ProcessId) -> Option<u32> {
        self.targets.iter().find(|target| target.process == process).map(|target| target.pid.get())
    }

    fn number(&mut self) -> ProcessId {
        let id = ProcessId(self.next_process);
        self.next_process += 1;
        id
    }

    /// The file's id; tells the books of a new one.
    fn register(&mut self, file: OpenBinary) -> BinaryId {
        let path = file.display.display().to_string();
        let (id, is_new) = self.probes.register(file);
        if is_new {
            self.say(Event::Binary(event::Binary { id, path }));
            let hooks: Vec<_> = self.probes.hook_names(id).map(|(n, name)| (n, name.to_owned())).collect();
            for (number, function) in hooks {
                self.say(Event::Hooked(event::Hooked { number, function }));
            }
            if let Ok(file) = File::open(self.probes.binary(id).file.probe_path()) {
                // Without it the names are missing, and the report says so.
                let _ = self.symbols.add_binary(id, file);
            }
        }
        id
    }

    /// A mapping as the books have it, and the file behind it.
    fn place(&mut self, pid: u32, mapping: &Mapping) -> Option<(event::Mapping, Option<BinaryId>)> {
        let (backing, file) = match &mapping.kind {
            MappingKind::Vdso => (Backing::Vdso, None),
            MappingKind::File { .. } => {
                let file = OpenBinary::behind(pid, mapping).ok().flatten()?;
                let id = self.register(file);
                (Backing::Binary(id), Some(id))
            }
            MappingKind::Anonymous { .. } => (Backing::Anonymous, None),
            MappingKind::Vvar | MappingKind::Vsyscall => return None,
        };
        let offset = if file.is_some() { FileOffset(mapping.file_offset) } else { FileOffset(0) };
        Some((event::Mapping { start: mapping.start, end: mapping.end, offset, backing }, file))
    }

    fn attach_all(
        &mut self,
        pid: NonZeroU32,
        comm: &str,
        mut files: Vec<BinaryId>,
    ) -> Result<Vec<(String, Attached)>, Failure> {
        files.sort_unstable();
        files.dedup();
        if files.iter().any(|id| self.probes.needs_return_probes(*id)) {
            self.refuse_if_deadly(pid)?;
        }
        let mut attached = Vec::new();
        for id in &files {
            self.notices.extend(self.probes.unseen(*id).map(Notice::Unseen));
            if let Some(done) = self.probes.attach(&mut self.kernel, *id, pid)? {
                attached.push((self.probes.binary(*id).name(), done));
            }
        }
        let has_hooks = |id: &BinaryId| self.probes.why_not(*id).is_none();
        if !files.iter().any(has_hooks) {
            let reason = |id: &BinaryId| {
                let why = self.probes.why_not(*id)?;
                Some(format!("  {}: {why}\n", self.probes.binary(*id).file.display.display()))
            };
            let reasons = files.iter().filter_map(reason).collect();
            return Err(Failure::NothingToTrace { pid: pid.get(), comm: comm.to_owned(), reasons });
        }
        Ok(attached)
    }

    fn refuse_if_deadly(&mut self, pid: NonZeroU32) -> Result<(), Failure> {
        if crate::process::has_seccomp_filter(pid.get())? && !self.kernel.return_probes_pass_seccomp()? {
            return Err(Failure::WouldEndTarget { pid: pid.get() });
        }
        Ok(())
    }

    /// Brings the two streams together by time. Returns what is to be told of each fork and exec, in their order.
    fn follow_lives(
        &mut self,
        events: &[Event],
        changes: impl Iterator<Item = Mapped>,
    ) -> Result<VecDeque<Vec<Event>>, Failure> {
        let mut changes = changes.peekable();
        let mut lists = HashMap::new();
        let mut lives = VecDeque::new();
        for event in events {
            let Event::Process(event) = *event else { continue };
            let (ProcessEvent::Fork { at, .. } | ProcessEvent::Exec { at, .. }) = event else { continue };
            while let Some(change) = changes.next_if(|change| change.at <= at) {
                self.remap(change, &mut lists)?;
            }
            lives.push_back(match event {
                ProcessEvent::Exec { .. } => self.execed(event),
                _ => self.forked(event)?,
            });
        }
        for change in changes {
            self.remap(change, &mut lists)?;
        }
        for (process, list) in lists {
            self.say(Event::Mappings(event::Mappings { process, list }));
        }
        Ok(lives)
    }

    /// A mapping change of a traced process. New mappings of a known process are gathered in `lists`.
    fn remap(
        &mut self,
        Mapped { tgid, at, change }: Mapped,
        lists: &mut HashMap<ProcessId, Vec<event::Mapping>>,
    ) -> Result<(), Failure> {
        if !self.spaces.watches(tgid) {
            return Ok(());
        }
        match change {
            Change::Exec { comm } => self.spaces.exec(tgid, at, comm),
            Change::Mapping { start, end, file_offset, device, inode, path } => {
                let kind = mapping_kind(&path, device, inode);
                let mapping = Mapping { start, end, file_offset, executable: true, kind };
                let Some((mapped, file)) = self.place(tgid, &mapping) else { return Ok(()) };
                if let Some(process) = self.spaces.map(tgid, mapped) {
                    lists.entry(process).or_default().push(mapped);
                }
                if let Some(file) = file {
                    self.attach_late(tgid, file)?;
                }
            }
        }
        Ok(())
    }

    /// A file was mapped while tracing; if it is an allocator, it is probed from now on.
    fn attach_late(&mut self, tgid: u32, file: BinaryId) -> Result<(), Failure> {
        let Some(pid) = NonZeroU32::new(tgid) else { return Ok(()) };
        match self.probes.attach(&mut self.kernel, file, pid) {
            Ok(Some(Attached { functions, .. })) => {
                let file = self.probes.binary(file).name();
                self.notices.push(Notice::AttachedLate { pid: tgid, file, functions });
                Ok(())
            }
            Ok(None) | Err(Failure::EndedBefore { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn forked(&mut self, event: ProcessEvent) -> Result<Vec<Event>, Failure> {
        let ProcessEvent::Fork { parent_tgid, tgid, process, at, .. } = event else { return Ok(Vec::new()) };
        let Some(process) = process else {
            self.not_followed += 1;
            self.notices.push(Notice::NotFollowed { parent: parent_tgid, child: tgid });
            return Ok(Vec::new());
        };
        let mut told = vec![Event::Process(event)];
        if let Some(space) = self.spaces.fork(parent_tgid, tgid, process) {
            told.extend(life(process, tgid, at, space, None));
        }
        let watched = NonZeroU32::new(tgid).and_then(|pid| Some((pid, Watched::open(tgid).ok()?)));
        match watched {
            Some((pid, watched)) => self.targets.push(Target { pid, process, watched }),
            // It has lived and ended since the last look. Its later execs, if any, are in this batch.
            None => self.gone.push((tgid, process)),
        }
        Ok(told)
    }

    fn execed(&mut self, event: ProcessEvent) -> Vec<Event> {
        let ProcessEvent::Exec { tgid, before, process, at } = event else { return Vec::new() };
        self.settling = clock::now() + SETTLING;
        self.drop_tables(before);
        let born = self.unborn.remove(&before);
        let mut told = Vec::new();
        if born.is_none() {
            told.push(Event::Process(event));
        }
        if let Some(target) = self.targets.iter_mut().find(|target| target.process == before) {
            target.process = process;
        }
        if let Some(gone) = self.gone.iter_mut().find(|(_, gone)| *gone == before) {
            gone.1 = process;
        }
        if let Some(space) = self.spaces.bind(tgid, at, process) {
            self.notices.push(Notice::Exec { pid: tgid, comm: space.comm.clone() });
            told.extend(life(process, tgid, at, space, born));
        }
        told
    }

    /// Asks /proc again: for processes with an address on a stack that no mapping event told of, and for all
    /// where such events were lost.
    fn refresh_mappings(&mut self) {
        let mut stale: Vec<ProcessId> = self.ledger.unattributed().collect();
        if self.mapped.lost > self.mappings_lost {
            self.mappings_lost = self.mapped.lost;
            stale = self.targets.iter().map(|target| target.process).collect();
        }
        for process in stale {
            let Some(pid) = self.pid_of(process) else { continue };
            let Ok(mappings) = Mappings::read(pid) else { continue };
            let executable = mappings.iter().filter(|mapping| mapping.executable);
            let list: Vec<_> =
                executable.filter_map(|mapping| self.place(pid, mapping)).map(|(mapped, _)| mapped).collect();
            self.say(Event::Mappings(event::Mappings { process, list }));
        }
    }

    /// Takes leave of processes that have ended.
    fn reap(&mut self) -> Result<(), Failure> {
        let mut ended = Vec::new();
        for target in &self.targets {
            let has_ended = target.watched.has_ended();
            if has_ended.map_err(|source| Failure::Io { doing: "watching a process", source })? {
                ended.push((target.pid.get(), target.process));
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        self.targets.retain(|target| !ended.iter().any(|(pid, _)| *pid == target.pid.get()));
        // What it said last is still in the rings.
        self.listen()?;
        for (pid, process) in ended {
            self.kernel.untrace(pid)?;
            self.ended(pid, process);
        }
        Ok(())
    }

    fn ended(&mut self, tgid: u32, process: ProcessId) {
        self.say(Event::Process(ProcessEvent::Exit { tgid, process, at: clock::now() }));
        self.drop_tables(process);
        self.spaces.forget(tgid);
    }
}

fn watch(pid: NonZeroU32) -> Result<Watched, Failure> {
    Watched::open(pid.get()).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => {
            Identity::of(pid.get()).map_or_else(Failure::Process, |_| Failure::EndedBefore { pid: pid.get() })
        }
        // A thread that is not a process.
        Some(libc::EINVAL | libc::ENOENT) => Identity::of(pid.get())
            .map_or_else(Failure::Process, |_| Failure::Io { doing: "watching the process", source }),
        _ => Failure::Io { doing: "watching the process (pidfd_open)", source },
    })
}

/// A program's first words: who it is and what it has mapped.
fn life(process: ProcessId, tgid: u32, at: u64, space: &Space, command: Option<String>) -> [Event; 2] {
    let Space { comm, mappings, .. } = space;
    let command = command_of(tgid).or(command).unwrap_or_else(|| comm.clone());
    let (comm, list) = (comm.clone(), mappings.clone());
    [
        Event::Traced(event::Traced { process, pid: tgid, comm, command, at }),
        Event::Mappings(event::Mappings { process, list }),
    ]
}

fn command_of(pid: u32) -> Option<String> {
    Identity::of(pid).ok().map(|identity| identity.command)
}

/// What the name means that the kernel gives to a mapping in its records.
fn mapping_kind(path: &Path, (major, minor): (u32, u32), inode: u64) -> MappingKind {
    let name = path.as_os_str().as_encoded_bytes();
    match name {
        b"[vdso]" => MappingKind::Vdso,
        b"[vsyscall]" => MappingKind::Vsyscall,
        // The kernel's page for return probes is on no stack that is kept.
        b"[uprobes]" => MappingKind::Vsyscall,
        _ if inode == 0 || name.starts_with(b"//anon") || name.starts_with(b"[") => {
            MappingKind::Anonymous { name: None }
        }
        _ => {
            let path = path.to_owned();
            MappingKind::File { device: Device { major, minor }, inode, path, deleted: false }
        }
    }
}
