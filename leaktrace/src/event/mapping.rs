//! What the agent found out itself and puts into the stream, so that a recording of it is complete: who a
//! process is, what its executable mappings are, which file a [`BinaryId`] means and which function a hook.

use std::fmt;

use leaktrace_common::process::ProcessId;

/// A file with code, given out by the agent once per distinct file (device and inode); one that was let go and comes back has
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinaryId(pub u32);

/// A position in a file, in bytes, which is how uprobes are told where to sit. Neither an address in a process nor one
/// in an ELF file's own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

impl fmt::Display for FileOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    Binary(BinaryId),
    /// Executable memory without a file: code made at run time.
    Anonymous,
    /// The code that the kernel maps into every process.
    Vdso,
}

/// Executable addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Of `start` in the file; 0 where there is none.
    pub offset: FileOffset,
    pub backing: Backing,
}

impl Mapping {
    /// Whether an address is in both.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether an address in both means another code in each. A change of protection alone does not make one.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.overlaps(other) && !self.continues(other)
    }

    /// Whether both are of one piece: the same file, loaded at the same place, or both of no file.
    fn continues(&self, other: &Self) -> bool {
        let loaded = |mapping: &Self| mapping.start.wrapping_sub(mapping.offset.0);
        self.backing == other.backing && (self.backing == Backing::Anonymous || loaded(self) == loaded(other))
    }

    /// The file in it.
    #[must_use]
    pub const fn binary(&self) -> Option<BinaryId> {
        if let Backing::Binary(id) = self.backing { Some(id) } else { None }
    }

    /// Whether it holds this address.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Where a part of the file that is at `address` here is in `other`, another mapping of it; none where it is not.
    #[must_use]
    pub fn twin(&self, other: &Self, address: u64) -> Option<u64> {
        let offset = self.offset.0.checked_add(address.checked_sub(self.start)?)?;
        let twin = other.start.checked_add(offset.checked_sub(other.offset.0)?)?;
        (self.backing == other.backing && twin < other.end).then_some(twin)
    }

    /// Its part from one address up to another; none if that is empty.
    fn part(&self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        let offset = match self.backing {
            Backing::Anonymous => self.offset,
            Backing::Binary(_) | Backing::Vdso => {
                FileOffset(self.offset.0.saturating_add(start.saturating_sub(self.start)))
            }
        };
        (start < end).then_some(Self { start, end, offset, ..*self })
    }
}

/// Puts a mapping into a list that is sorted by address and without overlaps, which it stays: of what was there before
/// the rest remains. Neighbours of one piece become one, so that a list is as long as there is code in pieces, however
/// often parts of it are mapped anew. Returns what it replaced that was another code.
pub fn lay_over(list: &mut Vec<Mapping>, new: Mapping) -> Vec<Mapping> {
    if new.start >= new.end {
        return Vec::new();
    }
    let first = list.partition_point(|old| old.end <= new.start);
    let behind = list.partition_point(|old| old.start < new.end).max(first);
    let overlapped = &list[first..behind];
    let contradicted = overlapped.iter().filter(|old| old.contradicts(&new));
    let contradicted = contradicted.filter_map(|old| old.part(new.start, new.end)).collect();
    let left = overlapped.first().and_then(|old| old.part(old.start, new.start));
    let right = overlapped.last().and_then(|old| old.part(new.end, old.end));
    let mut around: Vec<Mapping> = Vec::with_capacity(5);
    let (before, after) = (first.saturating_sub(1), (behind + 1).min(list.len()));
    let pieces = list[before..first].iter().copied().chain(left).chain([new]).chain(right);
    for piece in pieces.chain(list[behind..after].iter().copied()) {
        match around.last_mut() {
            Some(last) if last.end == piece.start && last.continues(&piece) => last.end = piece.end,
            _ => around.push(piece),
        }
    }
    list.splice(before..after, around);
    contradicted
}

/// Executable mappings of a process, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Mappings {
    pub process: ProcessId,
    pub list: Vec<Mapping>,
    /// Whether there are no others: what was known before and is not in `list` is gone. Else it may have gone too, but
    /// stacks that are still on their way may tell of it.
    pub whole: bool,
}

/// Who a process is. Sent when its tracing begins, after an exec and for a followed child.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    pub process: ProcessId,
    pub pid: u32,
    /// As `/proc/PID/comm` has it.
    pub comm: String,
    /// The command line, joined by spaces.
    pub command: String,
    /// When tracing began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
}

/// The file behind a [`BinaryId`], as the traced process sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub id: BinaryId,
    pub path: String,
}

/// The function behind a hook's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooked {
    pub number: u16,
    pub function: String,
    /// Whether what it hands out is JavaScript's.
    pub javascript: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: Backing = Backing::Binary(BinaryId(1));

    fn mapping(start: u64, end: u64, backing: Backing) -> Mapping {
        // Every file is loaded at 0.
        let offset = if backing == Backing::Anonymous { 0 } else { start };
        Mapping { start, end, offset: FileOffset(offset), backing }
    }

    #[test]
    fn what_is_mapped_over_a_part_leaves_the_rest_on_both_sides() {
        let mut list = vec![mapping(0x1000, 0x9000, FILE)];
        let patch = mapping(0x3000, 0x4000, Backing::Anonymous);
        assert_eq!(lay_over(&mut list, patch), [mapping(0x3000, 0x4000, FILE)]);
        let rest = [mapping(0x1000, 0x3000, FILE), patch, mapping(0x4000, 0x9000, FILE)];
        assert_eq!(list, rest);
        // The same code at the same place is nothing new.
        assert_eq!(lay_over(&mut list, mapping(0x5000, 0x6000, FILE)), vec![]);
        assert_eq!(list, rest);
    }

    #[test]
    fn a_jit_that_changes_protections_for_ever_has_one_mapping() {
        let mut list = Vec::new();
        for round in 0..10_000u64 {
            let page = 0x10_0000 + round % 64 * 0x1000;
            assert_eq!(lay_over(&mut list, mapping(page, page + 0x1000, Backing::Anonymous)), vec![]);
        }
        assert_eq!(list, [mapping(0x10_0000, 0x14_0000, Backing::Anonymous)]);
    }

    proptest! {
        /// Against a list of bytes.
        #[test]
        fn the_last_mapping_of_an_address_counts(
            mapped in prop::collection::vec((0u64..64, 0u64..16, 0u32..3), 0..40)
        ) {
            let mut list = Vec::new();
            let mut bytes = [None; 96];
            for (start, length, kind) in mapped {
                let backing = if kind == 0 { Backing::Anonymous } else { Backing::Binary(BinaryId(kind)) };
                let new = mapping(start, start + length, backing);
                let replaced = lay_over(&mut list, new);
                for at in start..start + length {
                    let other = bytes[at as usize].is_some_and(|old| old != backing);
                    prop_assert_eq!(replaced.iter().any(|old| old.contains(at)), other);
                    bytes[at as usize] = Some(backing);
                }
            }
            prop_assert!(list.windows(2).all(|two| two[0].end <= two[1].start));
            prop_assert!(list.windows(2).all(|two| two[0].end < two[1].start || two[0].backing != two[1].backing));
            for (at, expected) in (0u64..).zip(bytes) {
                let found = list.iter().find(|it| (it.start..it.end).contains(&at));
                prop_assert_eq!(found.map(|it| it.backing), expected);
                let loaded = found.filter(|it| it.backing != Backing::Anonymous).map(|it| it.start - it.offset.0);
                prop_assert!(loaded.is_none_or(|loaded| loaded == 0));
            }
        }
    }
}
