//! What was derived from a binary is checked on the running process.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::can;

/// What is checked on the running process, as often as it takes to be sure.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Where an allocator leads to is an allocation area.
    Area = 0,
    /// A page's flags are such, and objects of pages that are not young do not move as young ones.
    Pages = 1,
    /// A sampled object begins with a map.
    Maps = 2,
    /// What a function on the stack has where its mark should be.
    Marks = 3,
}

impl Check {
    pub const ALL: [Self; 4] = [Self::Area, Self::Pages, Self::Maps, Self::Marks];

    /// Bits of [`can`] that rest on it.
    #[must_use]
    #[inline(always)]
    pub const fn carries(self) -> u32 {
        match self {
            Self::Area => can::SAMPLES,
            Self::Pages => can::FOLLOW,
            Self::Maps => can::TYPES,
            Self::Marks => can::OLD,
        }
    }

    /// How often it is made, and how often and in which part of them (one in so many) it may fail before what rests on it
    /// is given up. Areas, maps and marks are either right or wrong most times. Of objects that are taken for old and are
    /// young only those that survive are caught.
    const fn terms(self) -> (u32, u32, u32) {
        match self {
            Self::Area | Self::Maps => (64, 8, 2),
            Self::Pages => (256, 4, 64),
            Self::Marks => (16, 2, 2),
        }
    }
}

/// How a [`Check`] went so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Checked {
    pub made: u32,
    pub failed: u32,
}

impl Checked {
    /// Whether nothing more is to be learned.
    #[must_use]
    #[inline(always)]
    pub const fn is_done(self, check: Check) -> bool {
        self.made >= check.terms().0
    }

    /// Notes one, and whether it is time to give up what rests on it.
    #[inline(always)]
    pub const fn note(&mut self, check: Check, holds: bool) -> bool {
        let (_, most, one_in) = check.terms();
        self.made += 1;
        self.failed += !holds as u32;
        self.failed >= most && self.failed * one_in > self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_once_in_a_while_gives_nothing_up() {
        let mut checked = Checked::default();
        let rare = (0..64).any(|number| checked.note(Check::Maps, number % 4 != 0));
        assert!(!rare && checked.is_done(Check::Maps));
        let mut checked = Checked::default();
        let given_up = (0..16).position(|_| checked.note(Check::Maps, false));
        assert_eq!(given_up, Some(7));
        // Objects that survive are few.
        let mut checked = Checked::default();
        assert!((0..256).any(|number| checked.note(Check::Pages, number % 32 != 0)));
    }
}
