//! Ages of blocks, which change without an event: kept so that those of blocks that only got older stay the same.

use super::changes::{Ages, Oldest, Same};
use crate::report::Stack;

/// Of a stack's oldest live block and of its middle one: when they were born, from when tracing began; where the process
/// has ended, and nothing gets older any more, their ages. 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    oldest: u64,
    median: u64,
}

/// What ages are counted by: nanoseconds since tracing began, while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) traced_ns: u64,
    pub(super) runs: bool,
}

impl Clock {
    /// From an age to what is kept, and back.
    const fn turn(self, ns: u64) -> u64 {
        // A process that was there before has blocks whose birth is before 0.
        if self.runs { self.traced_ns.wrapping_sub(ns) } else { ns }
    }
}

impl Kept {
    pub(super) fn of(stack: &Stack, clock: Clock) -> Self {
        Self::at(stack.oldest_age_ns, stack.median_age_ns, clock)
    }

    pub(super) fn at(oldest: Option<u64>, median: Option<u64>, clock: Clock) -> Self {
        let kept = |age: Option<u64>| age.map_or(0, |age| clock.turn(age));
        Self { oldest: kept(oldest), median: kept(median) }
    }

    /// What of them is as it was `before`.
    pub(super) fn same(self, before: Self) -> Same {
        match self.oldest == before.oldest {
            true if self.median == before.median => Same::Both,
            true => Same::Oldest,
            false => Same::Neither,
        }
    }

    /// What is kept from now on, by what a row says of it.
    pub(super) fn then(self, ages: Ages, clock: Clock) -> Self {
        let oldest = match ages.oldest {
            Oldest::Same => self.oldest,
            Oldest::Now(age) => age.map_or(0, |age| clock.turn(age)),
        };
        let age = match ages.oldest {
            Oldest::Same => clock.turn(self.oldest),
            Oldest::Now(age) => age.unwrap_or_default(),
        };
        let median = ages.younger.map(|younger| age.wrapping_sub(younger.cast_unsigned()));
        Self { oldest, median: median.map_or(0, |age| clock.turn(age)) }
    }

    /// The ages now; the caller knows whether there are such blocks.
    pub(super) const fn ages(self, clock: Clock) -> (u64, u64) {
        (clock.turn(self.oldest), clock.turn(self.median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_only_get_older_are_kept_as_they_were_and_have_their_ages_then() {
        let at = |traced_ns, runs| Clock { traced_ns, runs };
        let kept = Kept::at(Some(90), Some(10), at(50, true));
        assert_eq!(kept, Kept::at(Some(100), Some(20), at(60, true)));
        assert_eq!(kept.ages(at(75, true)), (115, 35));
        let ended = Kept::at(Some(90), None, at(50, false));
        assert_eq!(ended, Kept::at(Some(90), None, at(60, false)));
        assert_eq!(ended.ages(at(1000, false)).0, 90);
    }
}
