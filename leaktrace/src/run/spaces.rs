//! Address spaces over time: which executable mappings each life of a process had.
//!
//! Mappings and execs come by one stream of the kernel, the process ids that the kernel side gives out at an
//! exec by another. They are put together by time: an exec empties the space shortly before the kernel side
//! hears of it.

use std::collections::HashMap;

use leaktrace_common::process::ProcessId;

use crate::event::Mapping;

/// One program's mappings.
#[derive(Clone, Debug)]
pub(super) struct Space {
    /// When the program took over, in nanoseconds of `CLOCK_MONOTONIC`.
    since: u64,
    /// None until the kernel side has told its id.
    process: Option<ProcessId>,
    /// The program's short name.
    pub(super) comm: String,
    pub(super) mappings: Vec<Mapping>,
}

/// The spaces of every traced process, by tgid, the newest last.
#[derive(Debug, Default)]
pub(super) struct Spaces(HashMap<u32, Vec<Space>>);

impl Spaces {
    /// Starts to follow a process.
    pub(super) fn watch(&mut self, tgid: u32, process: ProcessId, comm: &str, mappings: Vec<Mapping>) {
        let space = Space { since: 0, process: Some(process), comm: comm.to_owned(), mappings };
        self.0.insert(tgid, vec![space]);
    }

    pub(super) fn watches(&self, tgid: u32) -> bool {
        self.0.contains_key(&tgid)
    }

    /// A followed child starts with its parent's mappings, which are returned.
    pub(super) fn fork(&mut self, parent: u32, child: u32, process: ProcessId) -> Option<&Space> {
        let mut space = self.0.get(&parent)?.last()?.clone();
        space.process = Some(process);
        self.0.insert(child, vec![space]);
        self.0.get(&child)?.last()
    }

    /// The process runs another program.
    pub(super) fn exec(&mut self, tgid: u32, at: u64, comm: String) {
        if let Some(spaces) = self.0.get_mut(&tgid) {
            spaces.push(Space { since: at, process: None, comm, mappings: Vec::new() });
        }
    }

    /// A mapping was made; returns the process it belongs to, if its id is known yet.
    pub(super) fn map(&mut self, tgid: u32, mapping: Mapping) -> Option<ProcessId> {
        let space = self.0.get_mut(&tgid)?.last_mut()?;
        space.mappings.push(mapping);
        space.process
    }

    /// The kernel side told the id of the program that an exec before `at` started.
    pub(super) fn bind(&mut self, tgid: u32, at: u64, process: ProcessId) -> Option<&Space> {
        let spaces = self.0.get_mut(&tgid)?;
        let space = spaces.iter_mut().rev().find(|space| space.since <= at)?;
        space.process = Some(process);
        Some(space)
    }

    /// The process is gone for good.
    pub(super) fn forget(&mut self, tgid: u32) {
        self.0.remove(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Backing, FileOffset};

    fn mapping(start: u64) -> Mapping {
        Mapping { start, end: start + 0x1000, offset: FileOffset(0), backing: Backing::Anonymous }
    }

    fn starts(space: &Space) -> Vec<u64> {
        space.mappings.iter().map(|mapping| mapping.start).collect()
    }

    #[test]
    fn mappings_before_the_id_of_an_exec_is_known_belong_to_the_new_program() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "sh", vec![mapping(0x1000)]);
        spaces.exec(7, 100, "ls".to_owned());
        assert_eq!(spaces.map(7, mapping(0x5000)), None);
        let space = spaces.bind(7, 105, ProcessId(2)).unwrap();
        assert_eq!((space.comm.as_str(), starts(space)), ("ls", vec![0x5000]));
        assert_eq!(spaces.map(7, mapping(0x6000)), Some(ProcessId(2)));
    }

    #[test]
    fn two_execs_in_a_row_are_told_apart_by_time() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "sh", vec![]);
        spaces.exec(7, 100, "env".to_owned());
        spaces.map(7, mapping(0x1000));
        spaces.exec(7, 200, "node".to_owned());
        spaces.map(7, mapping(0x2000));
        assert_eq!(starts(spaces.bind(7, 110, ProcessId(2)).unwrap()), [0x1000]);
        assert_eq!(starts(spaces.bind(7, 210, ProcessId(3)).unwrap()), [0x2000]);
    }

    #[test]
    fn a_child_has_its_parents_mappings_and_later_its_own() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "server", vec![mapping(0x1000)]);
        assert_eq!(starts(spaces.fork(7, 8, ProcessId(2)).unwrap()), [0x1000]);
        assert_eq!(spaces.map(8, mapping(0x2000)), Some(ProcessId(2)));
        assert_eq!(spaces.map(9, mapping(0x2000)), None, "not traced");
        spaces.forget(8);
        assert!(!spaces.watches(8));
    }
}
