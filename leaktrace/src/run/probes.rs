//! The files that hold code of the traced processes, and the probes placed in them.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
};

use super::Failure;
use crate::{
    binary::{Binary, debug_file},
    event::BinaryId,
    kernel::{
        Kernel,
        attach::{AttachError, Place, Program},
    },
    probe_site::Returns,
    process::OpenBinary,
    target::{self, FoundHook, Hooks, NoAllocator, Wanted},
};

/// A file and what is probed in it.
pub(super) struct KnownBinary {
    pub(super) file: OpenBinary,
    hooks: Result<Hooks, NoAllocator>,
    /// Number of its first hook in the list of all.
    first_hook: u16,
    /// Processes its probes are attached for; none stands for all.
    attached: HashSet<Option<NonZeroU32>>,
}

impl KnownBinary {
    /// The file's name without its directories.
    pub(super) fn name(&self) -> String {
        let name = self.file.display.file_name().unwrap_or(self.file.display.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// What attaching to one file did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) functions: usize,
    pub(super) probes: usize,
    /// Probes on instructions that the kernel has to single-step.
    pub(super) slow: usize,
    /// Functions with ways out that are not probed.
    pub(super) incomplete: usize,
}

/// Every file seen and every probe placed.
pub(super) struct Probes {
    wanted: Wanted,
    /// Only these files, by device and inode, if the user named some.
    only: Option<HashSet<(u64, u64)>>,
    /// One attachment for every process that maps the file, or one a process.
    everyone: bool,
    at_entry: bool,
    binaries: Vec<KnownBinary>,
    by_inode: HashMap<(u64, u64), BinaryId>,
    hooks: u16,
}

impl Probes {
    pub(super) fn new(
        wanted: Wanted,
        only: Option<HashSet<(u64, u64)>>,
        everyone: bool,
        at_entry: bool,
    ) -> Self {
        let (binaries, by_inode) = (Vec::new(), HashMap::new());
        Self { wanted, only, everyone, at_entry, binaries, by_inode, hooks: 0 }
    }

    /// The file's id, and whether it was not known before.
    pub(super) fn register(&mut self, file: OpenBinary) -> (BinaryId, bool) {
        let key = (file.device, file.inode);
        if let Some(id) = self.by_inode.get(&key) {
            return (*id, false);
        }
        let id = BinaryId(self.binaries.len() as u32);
        let chosen = self.only.as_ref().is_none_or(|only| only.contains(&key));
        let hooks = if chosen { self.hooks_of(&file) } else { Err(NoAllocator::NoneDefined) };
        let found = hooks.as_ref().map_or(0, |hooks| hooks.found.len());
        let first_hook = self.hooks;
        self.hooks = self.hooks.saturating_add(found as u16);
        self.by_inode.insert(key, id);
        self.binaries.push(KnownBinary { file, hooks, first_hook, attached: HashSet::new() });
        (id, true)
    }

    fn hooks_of(&self, file: &OpenBinary) -> Result<Hooks, NoAllocator> {
        // A file that cannot be read or is not ELF (a mapped font, say) has no allocator either.
        let data = file.read().map_err(|_| NoAllocator::NoneDefined)?;
        let mut binary = Binary::parse(&data).map_err(|_| NoAllocator::NoneDefined)?;
        match target::hooks_of(&binary, &self.wanted) {
            Err(NoAllocator::NoSymbols | NoAllocator::NoneDefined) if binary.is_static() => {
                let debug = debug_file::candidates(&binary, &file.display);
                let Some(debug) = debug.iter().find_map(|path| std::fs::read(path).ok()) else {
                    return target::hooks_of(&binary, &self.wanted);
                };
                // Broken debug information: what the file itself says stands.
                let _ = binary.add_symbols_of(&debug);
                target::hooks_of(&binary, &self.wanted)
            }
            result => result,
        }
    }

    pub(super) fn binary(&self, id: BinaryId) -> &KnownBinary {
        &self.binaries[id.0 as usize]
    }

    /// The file's hooks by number, for reports.
    pub(super) fn hook_names(&self, id: BinaryId) -> impl Iterator<Item = (u16, &str)> {
        let known = self.binary(id);
        let found = known.hooks.as_ref().map_or(&[][..], |hooks| &hooks.found);
        (known.first_hook..).zip(found.iter().map(|hook| hook.symbol.as_str()))
    }

    /// Whether a function is probed whose name starts so.
    pub(super) fn has_hook_with(&self, prefix: &str) -> bool {
        let found = self.binaries.iter().filter_map(|known| known.hooks.as_ref().ok());
        found.flat_map(|hooks| &hooks.found).any(|hook| hook.symbol.starts_with(prefix))
    }

    /// Why nothing is probed in the file.
    pub(super) fn why_not(&self, id: BinaryId) -> Option<&NoAllocator> {
        self.binary(id).hooks.as_ref().err()
    }

    /// Functions with known names that get no probe although memory may pass through them.
    pub(super) fn unseen(&self, id: BinaryId) -> impl Iterator<Item = String> {
        let skipped = self.binary(id).hooks.as_ref().map_or(&[][..], |hooks| &hooks.skipped);
        skipped.iter().filter(|skip| skip.why.loses()).map(|skip| format!("{}: {}", skip.symbol, skip.why))
    }

    /// Whether the file's functions need return probes, which are not safe everywhere.
    pub(super) fn needs_return_probes(&self, id: BinaryId) -> bool {
        let hooks = self.binary(id).hooks.as_ref().map_or(&[][..], |hooks| &hooks.found);
        hooks.iter().any(|hook| hook.returns == Returns::Uretprobe)
    }

    /// Places the file's probes for this process, if it has any and they are not there yet.
    ///
    /// What frees comes first: a block must not be seen to come and never to go.
    pub(super) fn attach(
        &mut self,
        kernel: &mut Kernel,
        id: BinaryId,
        pid: NonZeroU32,
    ) -> Result<Option<Attached>, Failure> {
        let scope = (!self.everyone).then_some(pid);
        let known = &mut self.binaries[id.0 as usize];
        let Ok(hooks) = &known.hooks else { return Ok(None) };
        if !known.attached.insert(scope) {
            return Ok(None);
        }
        let mut numbered: Vec<(u16, &FoundHook)> = (known.first_hook..).zip(&hooks.found).collect();
        numbered.sort_by_key(|(_, hook)| hook.returns != Returns::NotNeeded);
        let path = known.file.probe_path();
        let mut attached = Attached { functions: numbered.len(), ..Attached::default() };
        for (number, hook) in numbered {
            for (program, offset, cheap) in places(hook, self.at_entry) {
                let mut cookie = hook.cookie(number);
                if self.at_entry {
                    cookie.pushed_words = 0;
                }
                let place = Place { program, file: &path, offset, cookie: cookie.pack(), pid: scope };
                kernel.attach(&place).map_err(|error| failed(error, pid))?;
                attached.probes += 1;
                attached.slow += usize::from(!cheap);
            }
            if let Returns::AtRet { incomplete: true, .. } = hook.returns {
                attached.incomplete += 1;
            }
        }
        Ok(Some(attached))
    }
}

/// Program, file offset and whether the kernel emulates the instruction there; returns before the entry, so that
/// no call is entered whose end would be missed.
fn places(hook: &FoundHook, at_entry: bool) -> Vec<(Program, u64, bool)> {
    let entry =
        if at_entry { hook.entry.offset.0 - u64::from(hook.entry.from_entry) } else { hook.entry.offset.0 };
    let emulated = hook.entry.emulated && (!at_entry || hook.entry.from_entry == 0);
    match &hook.returns {
        Returns::NotNeeded => vec![(Program::FreeEnter, entry, emulated)],
        // Both sit on one instruction and cost one trap.
        Returns::Uretprobe => {
            vec![(Program::CallReturn, entry, emulated), (Program::CallEnter, entry, emulated)]
        }
        Returns::AtRet { sites, incomplete: _ } => {
            let mut places: Vec<_> = sites.iter().map(|site| (Program::CallAtRet, site.0, false)).collect();
            places.push((Program::CallEnter, entry, emulated));
            places
        }
    }
}

fn failed(error: AttachError, pid: NonZeroU32) -> Failure {
    if error.target_gone() { Failure::EndedBefore { pid: pid.get() } } else { error.into() }
}
