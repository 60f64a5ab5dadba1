//! The numbers of hooks. A stack says by one which function handed its blocks out, and a call under way which one it is of.
//! They have 16 bits in a probe's cookie, so copies of a file, which
//! each container brings with it, have the same.

use std::{collections::HashMap, ops::Range};

/// What copies of a file have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Content {
    BuildId(Vec<u8>),
    /// Of one without: its size in bytes and when it was modified, as images of containers keep it.
    Stamp(u64, (i64, i64)),
}

/// A file, as far as its hooks are concerned.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Hooked {
    /// None where nothing is known of it: it is taken for a copy of no other.
    pub(super) content: Option<Content>,
    /// Whether its malloc is glibc's.
    pub(super) glibc: bool,
    /// The functions with hooks.
    pub(super) names: Vec<String>,
    /// Hooks of its JavaScript engine, whose numbers follow.
    pub(super) points: usize,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    copies: HashMap<Hooked, u16>,
    of_glibc: Vec<Range<u16>>,
    next: u16,
}

impl Numbers {
    /// The first of the file's numbers; none if there are not as many left. What is forgotten keeps its own, for it may come
    /// back.
    pub(super) fn first(&mut self, file: Hooked) -> Option<u16> {
        if file.names.is_empty() && file.points == 0 {
            return Some(0);
        }
        if let Some(first) = self.copies.get(&file) {
            return Some(*first);
        }
        let first = self.next;
        let of_functions = u16::try_from(file.names.len()).ok()?;
        let end = first.checked_add(of_functions)?;
        self.next = end.checked_add(u16::try_from(file.points).ok()?)?;
        if file.glibc {
            self.of_glibc.push(first..end);
        }
        if file.content.is_some() {
            self.copies.insert(file, first);
        }
        Some(first)
    }

    /// Whether the hook of this number sits in glibc's malloc.
    pub(super) fn is_of_glibc(&self, number: u16) -> bool {
        self.of_glibc.iter().any(|range| range.contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: Option<u8>, names: &[&str]) -> Hooked {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let content = content.map(|byte| Content::BuildId(vec![byte]));
        Hooked { content, glibc: true, names, points: 1 }
    }

    #[test]
    fn copies_of_a_file_share_their_numbers_and_others_have_their_own() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.first(file(Some(1), &["malloc", "free"])), Some(0));
        assert_eq!(numbers.first(file(Some(1), &["malloc", "free"])), Some(0));
        assert_eq!(numbers.first(file(Some(2), &["malloc", "free"])), Some(3));
        // Of two that nothing is known of nobody knows whether they are one.
        assert_eq!(numbers.first(file(None, &["malloc", "free"])), Some(6));
        assert_eq!(numbers.first(file(None, &["malloc", "free"])), Some(9));
        let of_glibc: Vec<u16> = (0..14).filter(|number| numbers.is_of_glibc(*number)).collect();
        assert_eq!(of_glibc, [0, 1, 3, 4, 6, 7, 9, 10]);
    }

    #[test]
    fn a_file_without_hooks_takes_no_number() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.first(Hooked { points: 0, ..file(Some(1), &[]) }), Some(0));
        assert_eq!((numbers.next, numbers.copies.len()), (0, 0));
    }

    #[test]
    fn there_are_no_two_files_with_one_number_when_they_run_out() {
        let mut numbers = Numbers { next: u16::MAX - 4, ..Numbers::default() };
        assert_eq!(numbers.first(file(None, &["malloc", "calloc", "realloc", "free"])), None);
        assert_eq!(numbers.first(file(None, &["malloc", "free"])), Some(u16::MAX - 4));
        assert_eq!(numbers.first(file(None, &["malloc", "free"])), None);
    }
}
