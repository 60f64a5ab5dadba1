//! The stacks of a process. A hundred thousand of a compiler's have some ten thousand frames, each of which is kept once.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{Hash, Hasher},
};

use leaktrace_common::stack::{StackId, StopReason};

use crate::attribute::{BinaryId, Frame, Place};

/// A stack as it was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// Number of the hook that took it.
    pub hook: u16,
    pub stop: StopReason,
    numbers: &'a [u32],
    known: &'a [Frame],
}

impl<'a> Taken<'a> {
    /// The allocator's caller first.
    pub fn frames(self) -> impl ExactSizeIterator<Item = &'a Frame> + DoubleEndedIterator + Clone {
        self.numbers.iter().map(move |number| &self.known[*number as usize])
    }
}

impl PartialEq for Taken<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.hook, self.stop) == (other.hook, other.stop) && self.frames().eq(other.frames())
    }
}

impl Eq for Taken<'_> {}

/// Of the addresses alone, and cheap: a hundred thousand stacks are compared each time that they are judged.
impl Hash for Taken<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mix = |sum: u64, frame: &Frame| (sum.rotate_left(5) ^ frame.address).wrapping_mul(ODD);
        state.write_u64(self.frames().fold(0, mix));
    }
}

#[derive(Debug, Default)]
pub(super) struct Stacks {
    taken: HashMap<StackId, Kept>,
    known: Vec<Frame>,
    numbers: HashMap<Frame, u32>,
    /// Numbers of those without a place: what is mapped next is tried on them alone.
    unplaced: BTreeSet<u32>,
}

#[derive(Debug)]
struct Kept {
    hook: u16,
    stop: StopReason,
    numbers: Box<[u32]>,
}

impl Stacks {
    pub(super) fn get(&self, stack: StackId) -> Option<Taken<'_>> {
        let Kept { hook, stop, numbers } = self.taken.get(&stack)?;
        Some(Taken { hook: *hook, stop: *stop, numbers, known: &self.known })
    }

    /// `is_new` is told of each frame that no stack had before.
    pub(super) fn insert(
        &mut self,
        stack: StackId,
        (hook, stop): (u16, StopReason),
        frames: &[Frame],
        mut is_new: impl FnMut(&Frame),
    ) {
        let mut number = |frame: &Frame| {
            *self.numbers.entry(*frame).or_insert_with(|| {
                is_new(frame);
                let number = self.known.len() as u32;
                self.known.push(*frame);
                if matches!(frame.place, Place::Unknown(_)) {
                    self.unplaced.insert(number);
                }
                number
            })
        };
        let numbers = frames.iter().map(&mut number).collect();
        self.taken.insert(stack, Kept { hook, stop, numbers });
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.known.iter().map(|frame| frame.place)
    }

    /// The files that frames are in.
    pub(super) fn binaries(&self) -> impl Iterator<Item = BinaryId> {
        self.places().filter_map(Place::binary)
    }

    /// Tries again to place what has no place; `is_new` is told of what got one.
    pub(super) fn place(&mut self, place: impl Fn(u64) -> Frame, mut is_new: impl FnMut(&Frame)) {
        self.unplaced.retain(|number| {
            let known = &mut self.known[*number as usize];
            let found = place(known.address);
            let is_left = matches!(found.place, Place::Unknown(_));
            if !is_left {
                // A stack that is taken from now on has the number under which the frame is known by then.
                self.numbers.remove(known);
                self.numbers.entry(found).or_insert(*number);
                is_new(&found);
            }
            *known = found;
            is_left
        });
    }
}
