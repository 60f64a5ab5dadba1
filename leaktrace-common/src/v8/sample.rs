//! Samples of V8's heap, and when they are taken.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::FunctionKey;

/// When refills of allocation areas are looked at: value of the kernel map `V8_WINDOW`, which the agent writes. All zero:
/// always.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Window {
    /// From when until when, in nanoseconds of `CLOCK_MONOTONIC`; with a `shift` of 0 at any time.
    pub from: u64,
    pub until: u64,
    /// Another one in each window: what was seen of an area in another says nothing of it any more.
    pub number: u32,
    /// What is seen stands for two to the power of this times as much.
    pub shift: u32,
}

impl Window {
    /// Mean length of one in nanoseconds: dozens of areas of a program that uses up so many that not all are looked at.
    pub const LENGTH: u64 = 24_000_000;

    #[must_use]
    #[inline(always)]
    pub const fn is_open(self, now: u64) -> bool {
        self.shift == 0 || self.from <= now && now < self.until
    }

    /// What may pass from the beginning of one to that of the next, in nanoseconds.
    #[must_use]
    pub const fn period(shift: u32) -> u64 {
        (Self::LENGTH + Self::LENGTH / 2) << shift
    }
}

/// A sampled object: value of the kernel map `V8_SAMPLES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sample {
    /// Where it is now.
    pub address: u64,
    /// [`super::Heap::id`] of its isolate's heap; 0 before the thread's first collection.
    pub heap: u64,
    /// [`crate::stack::StackId`]
    pub stack: u64,
    /// Bytes of allocation that this sample stands for.
    pub weight: u64,
    /// When it was taken, nanoseconds of `CLOCK_MONOTONIC`.
    pub born: u64,
    /// Constructor of an object that JavaScript made; 0: none, or not looked yet.
    pub constructor: FunctionKey,
    /// The object's own size in bytes.
    pub size: u32,
    /// [`crate::process::ProcessId`]
    pub process: u32,
    /// [`SampleState`]
    pub state: u32,
    /// Whole collections of its heap before it was made.
    pub born_major: u32,
    /// Collections that it has outlived.
    pub minor_survived: u16,
    pub major_survived: u16,
    /// Of its map, once a collection has looked; 0 before.
    pub instance_type: u16,
    /// [`Window::shift`] of when it was taken, which is in `weight`.
    pub shift: u16,
    /// The next of the same list, for the kernel side.
    pub next: u32,
    pub padding_2: u32,
}

impl Sample {
    /// Bytes of allocation that it stands for at that time: not for those of the pause after its window before that is over, or a
    /// short life that happens to be one now would seem to be many.
    #[must_use]
    pub const fn weight_at(&self, now: u64) -> u64 {
        let is_new = self.shift > 0 && now.saturating_sub(self.born) < Window::period(self.shift as u32);
        if is_new { self.weight >> self.shift } else { self.weight }
    }
}

/// Where a [`Sample`] stands.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleState {
    /// Nothing is here.
    Free = 0,
    /// No collection has seen it yet.
    Fresh = 1,
    /// Among the young objects.
    Young = 2,
    Old = 3,
}

/// Length of the map `V8_SAMPLES`: at half a MiB a sample, 32 GiB of live objects.
pub const SAMPLES: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_beginning_to_its_end_and_without_windows_always() {
        let window = Window { from: 10, until: 20, number: 1, shift: 3 };
        assert_eq!([9, 10, 19, 20].map(|now| window.is_open(now)), [false, true, true, false]);
        assert!(Window { shift: 0, ..window }.is_open(30));
    }

    #[test]
    fn a_sample_stands_for_a_pause_only_when_that_is_over() {
        let sample = Sample { weight: 800, born: 100, shift: 3, ..Sample::default() };
        let over = 100 + Window::period(3);
        assert_eq!([100, over - 1, over].map(|now| sample.weight_at(now)), [100, 100, 800]);
        assert_eq!(Sample { shift: 0, ..sample }.weight_at(100), 800);
    }
}
