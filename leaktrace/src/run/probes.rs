//! The files that hold code of the traced processes, and the probes placed in them.

mod numbers;
mod places;
mod read;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    num::NonZeroU32,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use leaktrace_common::v8::Point;

pub(super) use self::places::Attached;
use self::{
    numbers::{Content, Hooked, Numbers},
    places::{cookie_of, is_frequent, places, program_of},
    read::Read,
};
use super::{
    Failure,
    engines::BuiltinsInFile,
    placed::{Placed, take_back},
};
use crate::{
    event::BinaryId,
    kernel::{
        Kernel,
        attach::{AttachError, Place, Probe, Program},
    },
    probe_site::Returns,
    process::{FileId, MappingKind, OpenBinary},
    runtime::v8::detect::{Detected, Unusable, V8},
    target::{FoundHook, Hooks, NoAllocator, Wanted},
};

/// Taking a file's probes back takes some 100 ms, before Linux 6.11 seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// A file and what is probed in it.
pub(super) struct KnownBinary {
    pub(super) file: OpenBinary,
    /// Where its symbols are, if they are in a file of their own.
    debug: Option<File>,
    hooks: Result<Hooks, NoAllocator>,
    /// Whether its malloc is glibc's.
    glibc: bool,
    v8: Detected,
    /// Where V8's builtins are in the file.
    builtins: Option<BuiltinsInFile>,
    /// Number of its first hook in the list of all.
    first_hook: u16,
    /// Processes its probes are attached for; none stands for all.
    attached: HashSet<Option<NonZeroU32>>,
}

impl KnownBinary {
    /// Functions with a hook.
    fn found(&self) -> &[FoundHook] {
        self.hooks.as_ref().map_or(&[], |hooks| &hooks.found)
    }

    /// Number of the first of V8's points among the hooks.
    fn first_point(&self) -> u16 {
        self.first_hook + self.found().len() as u16
    }

    /// The file's name without its directories.
    fn name(&self) -> String {
        let name = self.file.display.file_name().unwrap_or(self.file.display.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// Which heaps are traced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heaps {
    pub(super) native: bool,
    pub(super) javascript: bool,
}

/// The files that are held, and the probes placed in them.
pub(super) struct Probes {
    wanted: Wanted,
    /// Only these files, by device and inode, if the user named some.
    only: Option<HashSet<(u64, u64)>>,
    heaps: Heaps,
    /// One attachment for every process that maps the file, or one a process.
    everyone: bool,
    at_entry: bool,
    /// Those of native memory, of refills of V8's allocation areas, and the others of engines.
    of_heap: Placed,
    of_refills: Placed,
    of_engines: Placed,
    /// Programs with a probe on an instruction that the kernel has to single-step.
    stepped: HashSet<(Program, BinaryId)>,
    binaries: HashMap<BinaryId, KnownBinary>,
    next_binary: u32,
    by_inode: HashMap<(u64, u64), BinaryId>,
    by_mapping: HashMap<MappingKind, BinaryId>,
    numbers: Numbers,
    /// Files whose probes are being taken back, by device and inode, until nothing holds on to that.
    going: Vec<((u64, u64), Weak<()>)>,
}

impl Probes {
    pub(super) fn new(
        wanted: Wanted,
        only: Option<HashSet<(u64, u64)>>,
        heaps: Heaps,
        everyone: bool,
        at_entry: bool,
    ) -> Self {
        Self {
            wanted,
            only,
            heaps,
            everyone,
            at_entry,
            of_heap: Placed::default(),
            of_refills: Placed::default(),
            of_engines: Placed::default(),
            stepped: HashSet::new(),
            binaries: HashMap::new(),
            next_binary: 0,
            by_inode: HashMap::new(),
            by_mapping: HashMap::new(),
            numbers: Numbers::default(),
            going: Vec::new(),
        }
    }

    /// The file that is known to be behind such a mapping. Its inode is no other file's while it is held open.
    pub(super) fn mapped_as(&self, kind: &MappingKind) -> Option<BinaryId> {
        self.by_mapping.get(kind).copied()
    }

    /// It is from now on: programs that start map the same files, and need not be asked for them again.
    pub(super) fn is_mapped_as(&mut self, id: BinaryId, kind: MappingKind) {
        self.by_mapping.insert(kind, id);
    }

    /// The file's id, and whether it was not known before.
    pub(super) fn register(&mut self, file: OpenBinary) -> (BinaryId, bool) {
        let key = (file.device, file.inode);
        if let Some(id) = self.by_inode.get(&key) {
            return (*id, false);
        }
        self.wait_until_gone(key);
        let id = BinaryId(self.next_binary);
        self.next_binary += 1;
        let chosen = self.only.as_ref().is_none_or(|only| only.contains(&key));
        let Read { build_id, mut hooks, glibc, debug, mut v8, builtins } =
            Read::of(&file, &self.wanted, chosen.then_some(self.heaps));
        let found = hooks.as_ref().map_or(&[][..], |hooks| &hooks.found);
        let names = found.iter().map(|hook| hook.symbol.clone()).collect();
        let points = if let Detected::Usable(v8) = &v8 { v8.points.len() } else { 0 };
        let stamp = |id: FileId| Content::Stamp(id.size, id.modified);
        let content = build_id.map(Content::BuildId).or_else(|| FileId::of(file.file()).ok().map(stamp));
        let first_hook = self.numbers.first(Hooked { content, glibc, names, points });
        if first_hook.is_none() {
            (hooks, v8) = (Err(NoAllocator::TooMany), Detected::NotV8);
        }
        self.by_inode.insert(key, id);
        let (first_hook, attached) = (first_hook.unwrap_or_default(), HashSet::new());
        let known = KnownBinary { file, debug, hooks, glibc, v8, builtins, first_hook, attached };
        self.binaries.insert(id, known);
        (id, true)
    }

    /// A file that comes back while its probes are taken back would be probed twice for a moment, and each call be seen twice.
    fn wait_until_gone(&self, file: (u64, u64)) {
        let Some((_, going)) = self.going.iter().find(|(other, _)| *other == file) else { return };
        let until = Instant::now() + PATIENCE;
        while going.strong_count() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The file's own descriptor and its debug file's, for whoever looks names up; once.
    pub(super) fn for_names(&mut self, id: BinaryId) -> io::Result<(File, Option<File>)> {
        let known = self.binaries.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        Ok((File::open(known.file.probe_path())?, known.debug.take()))
    }

    /// None of what was forgotten.
    pub(super) fn binary(&self, id: BinaryId) -> Option<&KnownBinary> {
        self.binaries.get(&id)
    }

    /// All that are held.
    pub(super) fn files(&self) -> impl Iterator<Item = BinaryId> {
        self.binaries.keys().copied()
    }

    /// Files that no process has any more: their probes are taken back, and they are closed.
    pub(super) fn forget(&mut self, gone: &HashSet<BinaryId>) {
        self.going.retain(|(_, going)| going.strong_count() > 0);
        for id in gone {
            let Some(known) = self.binaries.get(id) else { continue };
            let placed = [&mut self.of_heap, &mut self.of_refills, &mut self.of_engines].into_iter();
            let mut probes: Vec<Probe> = placed.flat_map(|placed| placed.forget(*id)).collect();
            // The other way round than they were placed: no block must be seen to come and never to go.
            probes.reverse();
            let going = Arc::new(());
            self.going.push(((known.file.device, known.file.inode), Arc::downgrade(&going)));
            take_back(probes, &going);
        }
        self.stepped.retain(|(_, id)| !gone.contains(id));
        self.by_inode.retain(|_, id| !gone.contains(id));
        self.by_mapping.retain(|_, id| !gone.contains(id));
        self.binaries.retain(|id, _| !gone.contains(id));
    }

    /// The file's name without its directories.
    pub(super) fn name(&self, id: BinaryId) -> String {
        self.binary(id).map_or_else(String::new, KnownBinary::name)
    }

    /// V8 in this file, if it can be traced.
    pub(super) fn v8(&self, id: BinaryId) -> Option<&V8> {
        match &self.binary(id)?.v8 {
            Detected::Usable(v8) => Some(v8),
            Detected::NotV8 | Detected::Unusable(_) => None,
        }
    }

    /// Why V8 in this file cannot be traced.
    pub(super) fn unusable(&self, id: BinaryId) -> Option<&Unusable> {
        match &self.binary(id)?.v8 {
            Detected::Unusable(unusable) => Some(unusable),
            Detected::NotV8 | Detected::Usable(_) => None,
        }
    }

    /// Where the builtins of V8 in this file are.
    pub(super) fn builtins(&self, id: BinaryId) -> Option<&BuiltinsInFile> {
        self.binary(id)?.builtins.as_ref()
    }

    /// Those of native memory are placed together, when they are placed again.
    pub(super) fn hold_back(&mut self) {
        self.of_heap.hold_back();
    }

    /// Takes the probes of native memory back. `until` is kept until they are gone.
    pub(super) fn lift<T: Send + Sync + 'static>(&mut self, until: &Arc<T>) {
        self.of_heap.lift(until);
    }

    /// Places them again, wherever there is still a process.
    pub(super) fn place_again(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        self.of_heap.place_again(kernel, &self.binaries)
    }

    /// The same for those of refills of V8's allocation areas.
    pub(super) fn lift_refills(&mut self) {
        self.of_refills.lift(&Arc::new(()));
    }

    pub(super) fn place_refills_again(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        self.of_refills.place_again(kernel, &self.binaries)
    }

    /// Whether a probe of this program is single-stepped.
    pub(super) fn is_stepped(&self, program: Program) -> bool {
        self.stepped.iter().any(|(other, _)| *other == program)
    }

    pub(super) fn has_stepped(&self) -> bool {
        !self.stepped.is_empty()
    }

    /// A file with an allocator in it that is not glibc's, if one is probed.
    pub(super) fn other_allocator(&self) -> Option<String> {
        let mut probed = self.of_heap.files().filter_map(|id| self.binary(id));
        probed.find(|known| !known.glibc).map(KnownBinary::name)
    }

    /// The numbers of the hooks by which samples of V8's heap are taken, and what reports call them.
    pub(super) fn sample_hooks(&self, id: BinaryId) -> impl Iterator<Item = (u16, &'static str)> {
        let points = self.v8(id).map_or(&[][..], |v8| &v8.points);
        let numbered = (self.binary(id).map_or(0, KnownBinary::first_point)..).zip(points);
        numbered.filter_map(|(number, point)| match point.point {
            Point::AllocateSlow | Point::AllocateObserved => Some((number, "V8's heap")),
            Point::AllocateLarge => Some((number, "V8's heap (large object)")),
            _ => None,
        })
    }

    /// The file's hooks by number, for reports.
    pub(super) fn hook_names(&self, id: BinaryId) -> impl Iterator<Item = (u16, &str)> {
        let known = self.binary(id).into_iter();
        known
            .flat_map(|known| (known.first_hook..).zip(known.found().iter().map(|hook| hook.symbol.as_str())))
    }

    /// Whether the hook of this number sits in glibc's malloc.
    pub(super) fn is_of_glibc(&self, number: u16) -> bool {
        self.numbers.is_of_glibc(number)
    }

    /// Whether a function is probed whose name starts so.
    pub(super) fn has_hook_with(&self, prefix: &str) -> bool {
        self.binaries.values().flat_map(KnownBinary::found).any(|hook| hook.symbol.starts_with(prefix))
    }

    /// Why nothing is probed in the file.
    pub(super) fn why_not(&self, id: BinaryId) -> Option<&NoAllocator> {
        self.binary(id)?.hooks.as_ref().err()
    }

    /// Functions with known names that get no probe although memory may pass through them.
    pub(super) fn unseen(&self, id: BinaryId) -> impl Iterator<Item = String> {
        let hooks = self.binary(id).and_then(|known| known.hooks.as_ref().ok());
        let skipped = hooks.map_or(&[][..], |hooks| &hooks.skipped);
        skipped.iter().filter(|skip| skip.why.loses()).map(|skip| format!("{}: {}", skip.symbol, skip.why))
    }

    /// Whether the file's functions need return probes, which are not safe everywhere.
    pub(super) fn needs_return_probes(&self, id: BinaryId) -> bool {
        let hooks = self.binary(id).map_or(&[][..], KnownBinary::found);
        hooks.iter().any(|hook| hook.returns == Returns::Uretprobe) || self.v8(id).is_some()
    }

    /// Places the file's probes for this process, if it has any and they are not there yet.
    pub(super) fn attach(
        &mut self,
        kernel: &mut Kernel,
        id: BinaryId,
        pid: NonZeroU32,
    ) -> Result<Option<Attached>, Failure> {
        let scope = (!self.everyone).then_some(pid);
        let Some(known) = self.binaries.get_mut(&id) else { return Ok(None) };
        let first_point = known.first_point();
        let found = known.hooks.as_ref().map_or(&[][..], |hooks| &hooks.found);
        let points = if let Detected::Usable(v8) = &known.v8 { &v8.points[..] } else { &[] };
        if found.is_empty() && points.is_empty() || !known.attached.insert(scope) {
            return Ok(None);
        }
        let mut attached = Attached { functions: found.len(), ..Attached::default() };
        let (mut of_heap, mut of_refills, mut of_engine) = (Vec::new(), Vec::new(), Vec::new());
        let mut seldom = Vec::new();
        for (number, hook) in (known.first_hook..).zip(found) {
            let mut cookie = hook.cookie(number);
            if self.at_entry {
                cookie.pushed_words = 0;
            }
            let places_of = if is_frequent(hook) { &mut of_heap } else { &mut seldom };
            for (program, offset, cheap) in places(hook, self.at_entry) {
                places_of.push(Place { program, offset, cookie: cookie.pack() });
                attached.probes += 1;
                attached.slow += usize::from(!cheap);
                self.stepped.extend((!cheap).then_some((program, id)));
            }
            if let Returns::AtRet { incomplete: true, .. } = hook.returns {
                attached.incomplete += 1;
            }
        }
        // Where the kernel takes probes back one after another, those that cost most are to go first.
        of_heap.append(&mut seldom);
        for (number, point) in (first_point..).zip(points) {
            let is_refill = matches!(point.point, Point::AllocateSlow | Point::AllocateObserved);
            let places = if is_refill { &mut of_refills } else { &mut of_engine };
            places.push(Place {
                program: program_of(point),
                offset: point.at.0,
                cookie: cookie_of(point, number),
            });
            attached.engine_probes += 1;
        }
        // The engine's may be refused: those of native memory stand then.
        for (placed, places) in [
            (&mut self.of_heap, of_heap),
            (&mut self.of_engines, of_engine),
            (&mut self.of_refills, of_refills),
        ] {
            placed.add(kernel, (id, known), scope, places).map_err(|error| failed(error, pid))?;
        }
        Ok(Some(attached))
    }
}

fn failed(error: AttachError, pid: NonZeroU32) -> Failure {
    if error.target_gone() { Failure::EndedBefore { pid: pid.get() } } else { error.into() }
}
