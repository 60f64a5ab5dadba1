//! What functions call: few others, most of them, so that a frame is told by its place among those its caller called before.

use std::collections::HashMap;

/// How many are remembered of a caller. Of a dispatcher that calls more, the latest; the others are told by their numbers.
const MOST: usize = 32;

/// Callees of frames, by the stacks so far; the outermost frame has none for its caller. Writer and reader have the same
/// at the same row.
#[derive(Debug, Default)]
pub(super) struct Callees(HashMap<Option<u32>, Vec<u32>>);

impl Callees {
    /// Where among the caller's callees this one is, the latest first and from 1 on; 0 for none of them. From now on it is
    /// the latest.
    pub(super) fn place(&mut self, caller: Option<u32>, callee: u32) -> usize {
        let known = self.0.entry(caller).or_default();
        let at = known.iter().rev().position(|one| *one == callee);
        match at {
            Some(at) => latest(known, at),
            None => add(known, callee),
        }
        at.map_or(0, |at| at + 1)
    }

    /// The one at such a place.
    pub(super) fn at(&mut self, caller: Option<u32>, place: usize) -> Option<u32> {
        let known = self.0.get_mut(&caller)?;
        let at = place.checked_sub(1).filter(|at| *at < known.len())?;
        latest(known, at);
        known.last().copied()
    }

    /// One that is at no place yet.
    pub(super) fn add(&mut self, caller: Option<u32>, callee: u32) {
        add(self.0.entry(caller).or_default(), callee);
    }
}

fn add(known: &mut Vec<u32>, callee: u32) {
    if known.len() == MOST {
        known.remove(0);
    }
    known.push(callee);
}

/// The latest is the list's last, so that little is moved.
fn latest(known: &mut [u32], at: usize) {
    let at = known.len() - 1 - at;
    known[at..].rotate_left(1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_reader_finds_what_the_writer_told(calls in prop::collection::vec((0_u32..3, 0_u32..50), 0..300)) {
            let (mut writer, mut reader) = (Callees::default(), Callees::default());
            for (caller, callee) in calls {
                let caller = caller.checked_sub(1);
                match writer.place(caller, callee) {
                    0 => reader.add(caller, callee),
                    place => prop_assert_eq!(reader.at(caller, place), Some(callee)),
                }
            }
        }
    }

    #[test]
    fn the_latest_is_first_and_a_place_that_is_none_is_refused() {
        let mut callees = Callees::default();
        assert_eq!([7, 8, 7, 7].map(|callee| callees.place(None, callee)), [0, 0, 2, 1]);
        assert_eq!(callees.place(Some(7), 8), 0, "of another caller");
        assert_eq!([0, 3, usize::MAX].map(|place| callees.at(None, place)), [None; 3]);
        assert_eq!(callees.at(Some(1), 1), None);
    }

    #[test]
    fn a_dispatcher_takes_no_more_room_than_its_latest_callees() {
        let mut callees = Callees::default();
        (0..1000).for_each(|callee| assert_eq!(callees.place(None, callee), 0));
        assert_eq!(callees.place(None, 999), 1);
        assert_eq!(callees.place(None, 1000 - MOST as u32), MOST);
        assert_eq!(callees.place(None, 1), 0);
    }
}
