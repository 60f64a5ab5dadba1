//! Address spaces over time: which executable mappings each life of a process had.
//!
//! Mappings and execs come by one stream of the kernel, the process ids that the kernel side gives out at an
//! exec by another. They are put together by time: an exec empties the space shortly before the kernel side
//! hears of it.

use std::collections::HashMap;

use leaktrace_common::process::ProcessId;

use crate::event::{Backing, BinaryId, Mapping, lay_over};

/// One program's mappings.
#[derive(Clone, Debug)]
pub(super) struct Space {
    /// When the program took over, in nanoseconds of `CLOCK_MONOTONIC`.
    since: u64,
    /// None until the kernel side has told its id.
    process: Option<ProcessId>,
    /// The program's short name.
    pub(super) comm: String,
    /// Sorted by address, without overlaps.
    pub(super) mappings: Vec<Mapping>,
    /// When code last took the place of other code, or may have.
    replaced: u64,
    /// Code that was replaced since the last look, and between that one and the one before it.
    stale: [Vec<Mapping>; 2],
}

impl Space {
    /// Whether code that was replaced was left by frame pointers, by another copy of it that is still there.
    fn was_chained(&self, old: &Mapping, address: u64, is_chained: impl Fn(u64) -> bool) -> bool {
        match old.backing {
            Backing::Anonymous => true,
            Backing::Binary(_) => {
                self.mappings.iter().find_map(|other| old.twin(other, address)).is_some_and(is_chained)
            }
            Backing::Vdso => false,
        }
    }
}

/// The spaces of every traced process, by tgid, the newest last.
#[derive(Debug, Default)]
pub(super) struct Spaces(HashMap<u32, Vec<Space>>);

impl Spaces {
    /// Starts to follow a process.
    pub(super) fn watch(&mut self, tgid: u32, process: ProcessId, comm: &str, mappings: &[Mapping]) {
        let space = Space {
            since: 0,
            process: Some(process),
            comm: comm.to_owned(),
            mappings: laid_out(mappings),
            replaced: 0,
            stale: Default::default(),
        };
        self.0.insert(tgid, vec![space]);
    }

    /// The files that are mapped, by the programs that run now.
    pub(super) fn binaries(&self) -> impl Iterator<Item = BinaryId> {
        let now = self.0.values().flat_map(|spaces| {
            let is_new = |space: &&Space| space.process.is_none();
            spaces.iter().filter(is_new).chain(spaces.last())
        });
        now.flat_map(|space| &space.mappings).filter_map(Mapping::binary)
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
            spaces.push(Space {
                since: at,
                process: None,
                comm,
                mappings: Vec::new(),
                replaced: 0,
                stale: Default::default(),
            });
        }
    }

    /// A mapping was made; returns the process it belongs to, if its id is known yet.
    pub(super) fn map(&mut self, tgid: u32, at: u64, mapping: Mapping) -> Option<ProcessId> {
        let space = self.0.get_mut(&tgid)?.last_mut()?;
        let contradicted = lay_over(&mut space.mappings, mapping);
        if !contradicted.is_empty() {
            space.replaced = at;
        }
        for old in contradicted {
            // A JIT's memory and its copy of the builtins come and go in one place with each of a program's workers.
            if !space.stale[0].contains(&old) {
                space.stale[0].push(old);
            }
        }
        space.process
    }

    /// All that the process has mapped was read anew.
    pub(super) fn reread(&mut self, tgid: u32, process: ProcessId, list: &[Mapping]) {
        let spaces = self.0.get_mut(&tgid).into_iter().flatten();
        for space in spaces.filter(|space| space.process == Some(process)) {
            space.mappings = laid_out(list);
        }
    }

    /// A new look begins. What the last one saw replaced was walked by the old code's tables until its end, and such
    /// stacks are only heard of now.
    pub(super) fn turn(&mut self) {
        for space in self.0.values_mut().flatten() {
            space.stale[1] = std::mem::take(&mut space.stale[0]);
        }
    }

    /// How many of the frames of a stack, innermost first, are surely right; none: all. From the first one on whose code
    /// has taken the place of other code of late, the walk may have gone by that one's tables. That frame itself is right,
    /// and all are where both codes are left by frame pointers: what a JIT makes and V8's builtins, of which each of node's
    /// workers has a copy at a place of its own. `is_chained` tells it of code that is there now.
    pub(super) fn trusted(
        &self,
        tgid: u32,
        process: ProcessId,
        addresses: impl Iterator<Item = u64>,
        is_chained: impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let space = self.0.get(&tgid)?.iter().find(|space| space.process == Some(process))?;
        let is_doubtful = |address: u64| {
            let call = address.saturating_sub(1);
            let replaced = || space.stale.iter().flatten().filter(|old| old.contains(call));
            let was_chained = |old| space.was_chained(old, call, &is_chained);
            replaced().next().is_some() && !(is_chained(call) && replaced().all(was_chained))
        };
        addresses.map(is_doubtful).position(|doubtful| doubtful).map(|index| index + 1)
    }

    /// Mappings were made that nothing was heard of.
    pub(super) fn missed(&mut self, at: u64) {
        self.0.values_mut().flatten().for_each(|space| space.replaced = at);
    }

    /// Whether an address may mean another code now than it did to `process` at that time.
    pub(super) fn was_replaced_since(&self, tgid: u32, process: ProcessId, at: u64) -> bool {
        let mut spaces = self.0.get(&tgid).into_iter().flatten();
        spaces.find(|space| space.process == Some(process)).is_none_or(|space| space.replaced > at)
    }

    /// The kernel side told the id of the program that an exec before `at` started.
    pub(super) fn bind(&mut self, tgid: u32, at: u64, process: ProcessId) -> Option<&Space> {
        let spaces = self.0.get_mut(&tgid)?;
        let bound = spaces.iter().rposition(|space| space.since <= at)?;
        spaces[bound].process = Some(process);
        // Of the program before it stacks may still be on their way, of earlier ones there are none.
        let old = bound.saturating_sub(1);
        spaces.drain(..old);
        spaces.get(bound - old)
    }

    /// The process is gone for good.
    pub(super) fn forget(&mut self, tgid: u32) {
        self.0.remove(&tgid);
    }
}

/// A table of /proc that was read in two goes may have overlaps.
fn laid_out(list: &[Mapping]) -> Vec<Mapping> {
    let mut laid_out = Vec::with_capacity(list.len());
    for mapping in list {
        lay_over(&mut laid_out, *mapping);
    }
    laid_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FileOffset;

    fn mapping(start: u64) -> Mapping {
        Mapping { start, end: start + 0x1000, offset: FileOffset(0), backing: Backing::Anonymous }
    }

    #[test]
    fn programs_of_long_ago_are_forgotten_and_of_the_last_ones_files_are_not_mapped_any_more() {
        let mut spaces = Spaces::default();
        let code = |id| Mapping { backing: Backing::Binary(BinaryId(id)), ..mapping(0x1000) };
        spaces.watch(7, ProcessId(1), "sh", &[code(1)]);
        for id in 2..9 {
            let at = u64::from(id) * 100;
            spaces.exec(7, at, "service".to_owned());
            spaces.map(7, at + 10, code(id));
            assert!(spaces.binaries().any(|binary| binary == BinaryId(id)), "not told of yet, and mapped");
            spaces.bind(7, at + 50, ProcessId(id)).unwrap();
        }
        let last: Vec<BinaryId> = spaces.binaries().collect();
        assert_eq!((last, spaces.0[&7].len()), (vec![BinaryId(8)], 2));
    }

    fn starts(space: &Space) -> Vec<u64> {
        space.mappings.iter().map(|mapping| mapping.start).collect()
    }

    #[test]
    fn mappings_before_the_id_of_an_exec_is_known_belong_to_the_new_program() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "sh", &[mapping(0x1000)]);
        spaces.exec(7, 100, "ls".to_owned());
        assert_eq!(spaces.map(7, 300, mapping(0x5000)), None);
        let space = spaces.bind(7, 105, ProcessId(2)).unwrap();
        assert_eq!((space.comm.as_str(), starts(space)), ("ls", vec![0x5000]));
        assert_eq!(spaces.map(7, 300, mapping(0x6000)), Some(ProcessId(2)));
    }

    #[test]
    fn two_execs_in_a_row_are_told_apart_by_time() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "sh", &[]);
        spaces.exec(7, 100, "env".to_owned());
        spaces.map(7, 300, mapping(0x1000));
        spaces.exec(7, 200, "node".to_owned());
        spaces.map(7, 300, mapping(0x2000));
        assert_eq!(starts(spaces.bind(7, 110, ProcessId(2)).unwrap()), [0x1000]);
        assert_eq!(starts(spaces.bind(7, 210, ProcessId(3)).unwrap()), [0x2000]);
    }

    /// A JIT makes its memory writable and executable in turn: each time the kernel tells of a mapping.
    #[test]
    fn memory_made_executable_again_and_again_is_one_mapping_and_replaces_nothing() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "jit", &[mapping(0x1000)]);
        for round in 0..1000 {
            spaces.map(7, round, mapping(0x5000));
            spaces.map(7, round, Mapping { end: 0x5800, ..mapping(0x5000) });
        }
        let child = spaces.fork(7, 8, ProcessId(2)).unwrap();
        assert_eq!(child.mappings, [mapping(0x1000), mapping(0x5000)]);
        assert!(!spaces.was_replaced_since(7, ProcessId(1), 0));
        spaces.reread(7, ProcessId(1), &[mapping(0x5000)]);
        assert_eq!(starts(spaces.fork(7, 9, ProcessId(3)).unwrap()), [0x5000]);
    }

    #[test]
    fn code_in_the_place_of_other_code_is_told_by_its_time() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "host", &[mapping(0x1000)]);
        spaces.map(7, 100, mapping(0x5000));
        spaces.map(7, 120, mapping(0x5000));
        assert!(!spaces.was_replaced_since(7, ProcessId(1), 50), "nothing else was there before");
        spaces.map(7, 200, Mapping { backing: Backing::Vdso, ..mapping(0x5800) });
        assert!(spaces.was_replaced_since(7, ProcessId(1), 150));
        assert!(!spaces.was_replaced_since(7, ProcessId(1), 250));
        assert!(spaces.was_replaced_since(8, ProcessId(1), 250), "nothing is known of it");
        let stack = [0x1100, 0x5900, 0x5100];
        let trusted = |spaces: &Spaces| spaces.trusted(7, ProcessId(1), stack.into_iter(), |_| false);
        assert_eq!(trusted(&spaces), Some(2));
        spaces.turn();
        assert_eq!(trusted(&spaces), Some(2), "walked before the tables were made anew");
        spaces.turn();
        assert_eq!(trusted(&spaces), None);
        spaces.missed(300);
        assert!(spaces.was_replaced_since(7, ProcessId(1), 250));
    }

    #[test]
    fn what_is_left_by_frame_pointers_now_and_was_before_is_not_doubtful() {
        let file = |start, offset| Mapping {
            backing: Backing::Binary(BinaryId(1)),
            offset: FileOffset(offset),
            ..mapping(start)
        };
        let trusted = |old: Mapping, chained: &[u64]| {
            let mut spaces = Spaces::default();
            spaces.watch(7, ProcessId(1), "node", &[file(0x1000, 0x4000), file(0x2000, 0x8000), old]);
            spaces.map(7, 100, mapping(0x5000));
            spaces
                .trusted(7, ProcessId(1), [0x5101, 0x1101].into_iter(), |address| chained.contains(&address))
        };
        // A copy of the second part of the file: by what is at the same place of the other copy.
        assert_eq!(trusted(file(0x5000, 0x8000), &[0x5100, 0x2100]), None);
        assert_eq!(trusted(file(0x5000, 0x8000), &[0x5100, 0x1100]), Some(1));
        assert_eq!(trusted(file(0x5000, 0x8000), &[0x2100]), Some(1), "what is there now is not");
        assert_eq!(trusted(file(0x5000, 0xc000), &[0x5100, 0x2100]), Some(1), "nothing is known of it");
    }

    #[test]
    fn a_child_has_its_parents_mappings_and_later_its_own() {
        let mut spaces = Spaces::default();
        spaces.watch(7, ProcessId(1), "server", &[mapping(0x1000)]);
        assert_eq!(starts(spaces.fork(7, 8, ProcessId(2)).unwrap()), [0x1000]);
        assert_eq!(spaces.map(8, 300, mapping(0x2000)), Some(ProcessId(2)));
        assert_eq!(spaces.map(9, 300, mapping(0x2000)), None, "not traced");
        spaces.forget(8);
        assert!(!spaces.watches(8));
    }
}
