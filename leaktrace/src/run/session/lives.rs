//! Processes fork, run other programs, map files and end: what that changes in the books and in the tables.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZeroU32,
    path::Path,
};

use leaktrace_common::{process::ProcessId, unwind::MAX_MAPPINGS};

use super::{
    super::{Failure, probes::Attached, spaces::Space, watch::Watched},
    Notice, SETTLING, Session, Target,
    files::Code,
};
use crate::{
    event::{self, BinaryId, Event, ProcessEvent},
    kernel::{
        clock,
        mapped::{Change, Mapped},
    },
    process::{Device, Mapping, MappingKind},
};

impl Session {
    /// Brings the two streams together by time. Returns what is to be told of each fork and exec, in their order.
    pub(super) fn follow_lives(
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
            self.say(&Event::Mappings(event::Mappings { process, list, whole: false }));
        }
        Ok(lives)
    }

    /// A mapping change of a traced process. New mappings of a known process are gathered in `lists`.
    pub(super) fn remap(
        &mut self,
        Mapped { tgid, at, change }: Mapped,
        lists: &mut HashMap<ProcessId, Vec<event::Mapping>>,
    ) -> Result<(), Failure> {
        if !self.spaces.watches(tgid) {
            if at > self.rings_read {
                // To be looked at again.
                self.changes.push(Mapped { tgid, at, change });
            } else {
                match change {
                    Change::Exec { .. } => self.propose(tgid),
                    Change::Mapping { .. } => self.propose_if_without_allocator(tgid),
                }
            }
            return Ok(());
        }
        match change {
            Change::Exec { comm } => self.spaces.exec(tgid, at, comm),
            Change::Mapping { start, end, file_offset, device, inode, path } => {
                let kind = mapping_kind(&path, device, inode);
                let mapping = Mapping {
                    start,
                    end,
                    file_offset,
                    executable: true,
                    writable: false,
                    accessible: true,
                    shared: false,
                    kind,
                };
                // A file that is out of reach by now has no part in the books.
                let Ok(Some((mapped, file))) = self.place(tgid, &mapping) else { return Ok(()) };
                if let Some(process) = self.spaces.map(tgid, at, mapped) {
                    event::lay_over(lists.entry(process).or_default(), mapped);
                }
                if let Some(file) = file {
                    self.attach_late(tgid, file)?;
                }
            }
        }
        Ok(())
    }

    /// A file was mapped while tracing; if it is an allocator, it is probed from now on.
    pub(super) fn attach_late(&mut self, tgid: u32, file: BinaryId) -> Result<(), Failure> {
        let Some(pid) = NonZeroU32::new(tgid) else { return Ok(()) };
        if self.probes.needs_return_probes(file)
            && let Err(error) = self.refuse_if_deadly(pid)
        {
            self.notices.push(Notice::Unseen(error.to_string()));
            return Ok(());
        }
        match self.attach_if_possible(file, pid) {
            Ok(Some(Attached { functions, engine_probes, .. })) => {
                let file = self.probes.name(file);
                let functions = functions + engine_probes;
                self.notices.push(Notice::AttachedLate { pid: tgid, file, functions });
                Ok(())
            }
            Ok(None) | Err(Failure::EndedBefore { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn forked(&mut self, event: ProcessEvent) -> Result<Vec<Event>, Failure> {
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
        // One that has ended since is heard of once more: what it did after this is in the rings by now.
        if let Some(pid) = NonZeroU32::new(tgid) {
            self.target(pid, process, Watched::open(tgid).ok())?;
        }
        Ok(told)
    }

    pub(super) fn execed(&mut self, event: ProcessEvent) -> Vec<Event> {
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
        self.became_another(tgid);
        if let Some(space) = self.spaces.bind(tgid, at, process) {
            self.notices.push(Notice::Exec { pid: tgid, comm: space.comm.clone() });
            told.extend(life(process, tgid, at, space, born));
        }
        told
    }

    /// Asks /proc again: for processes with an address on a stack that no mapping event told of, and for all
    /// where such events were lost.
    pub(super) fn refresh_mappings(&mut self) -> Result<(), Failure> {
        let mut stale: Vec<ProcessId> = self.ledger.unattributed().collect();
        if self.mapped.lost > self.mappings_lost {
            self.mappings_lost = self.mapped.lost;
            stale = self.targets.iter().map(|target| target.process).collect();
        }
        for process in stale {
            let Some(pid) = self.pid_of(process) else { continue };
            let Some(list) = self.reread(process, pid)? else { continue };
            self.say(&Event::Mappings(event::Mappings { process, list, whole: false }));
        }
        Ok(())
    }

    /// What is unmapped is told by nothing, so that a process which maps code at ever new places has ever more of it
    /// in the books. Before its tables are full only what is there is kept.
    pub(super) fn make_room(&mut self, process: ProcessId, pid: u32) -> Result<(), Failure> {
        let known = self.ledger.mappings(process).len();
        // If most of it is still there, not again before there is as much more.
        let least = self.crowded.get(&process).map_or(MAX_MAPPINGS, |after| MAX_MAPPINGS.max(after * 5 / 4));
        if known <= least {
            return Ok(());
        }
        let Some(list) = self.reread(process, pid)? else { return Ok(()) };
        self.crowded.insert(process, list.len());
        self.spaces.reread(pid, process, &list);
        self.say(&Event::Mappings(event::Mappings { process, list, whole: true }));
        // This was for the update that follows.
        self.remapped.remove(&process);
        Ok(())
    }

    /// The executable mappings as /proc has them; none where the process is gone.
    fn reread(&mut self, process: ProcessId, pid: u32) -> Result<Option<Vec<event::Mapping>>, Failure> {
        let Ok(Code { mut list, files, out_of_reach }) = self.place_all(pid) else { return Ok(None) };
        // What was opened before it was replaced stays known.
        for (range, _) in out_of_reach {
            let known = self.ledger.mappings(process).iter();
            list.extend(known.filter(|known| known.start < range.end && range.start < known.end));
        }
        // One that nobody told of may hold an allocator.
        files.into_iter().try_for_each(|file| self.attach_late(pid, file))?;
        Ok(Some(list))
    }

    /// Takes leave of processes that have ended.
    pub(super) fn reap(&mut self) -> Result<(), Failure> {
        let told = self.ends.ended().map_err(|source| Failure::Io { doing: "watching processes", source })?;
        let mut ended: HashSet<u64> = told.into_iter().collect();
        if std::mem::take(&mut self.has_unwatched) {
            let unwatched = self.targets.iter().filter(|target| target.watched.is_none());
            ended.extend(unwatched.map(|target| target.key));
        }
        if ended.is_empty() {
            return Ok(());
        }
        // What they said last is still in the rings, an exec maybe: they are other processes after it.
        self.hear()?;
        let ended = self.targets.extract_if(.., |target| ended.contains(&target.key));
        ended.collect::<Vec<_>>().into_iter().try_for_each(|target| self.leave(&target))
    }

    /// A process is traced no more: it has ended, or is none that is wanted.
    pub(super) fn leave(&mut self, target: &Target) -> Result<(), Failure> {
        let (tgid, process) = (target.pid.get(), target.process);
        self.kernel.untrace(tgid)?;
        self.leavings.ended();
        self.say(&Event::Process(ProcessEvent::Exit { tgid, process, at: clock::now() }));
        self.drop_tables(process);
        self.spaces.forget(tgid);
        Ok(())
    }
}

/// A program's first words: who it is and what it has mapped.
fn life(process: ProcessId, tgid: u32, at: u64, space: &Space, command: Option<String>) -> [Event; 2] {
    let Space { comm, mappings, .. } = space;
    let command = crate::process::command_of(tgid).or(command).unwrap_or_else(|| comm.clone());
    let (comm, list) = (comm.clone(), mappings.clone());
    [
        Event::Traced(event::Traced { process, pid: tgid, comm, command, at }),
        Event::Mappings(event::Mappings { process, list, whole: false }),
    ]
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
