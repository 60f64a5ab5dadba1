//! What processes that have ended leave in the kernel side's tables until they are read. On a machine that starts some hundred
//! programs a second that is most of what is in them; but to read them takes time too, for all the processes that live.

/// How many processes may end between two looks, of which nothing is known: each leaves up to some hundred stacks.
const FIRST: usize = 200;
/// However little they leave: each has books of its own until then.
const MOST: usize = 4000;

/// One table, at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Entries that it has room for.
    pub(super) room: usize,
    /// Entries of those that have ended, which are gone now.
    pub(super) cleared: usize,
    /// The others.
    pub(super) left: usize,
}

#[derive(Debug)]
pub(super) struct Leavings {
    ended: usize,
    /// So many may end before the next look.
    allowed: usize,
}

impl Default for Leavings {
    fn default() -> Self {
        Self { ended: 0, allowed: FIRST }
    }
}

impl Leavings {
    pub(super) const fn ended(&mut self) {
        self.ended += 1;
    }

    pub(super) const fn are_there(&self) -> bool {
        self.ended > 0
    }

    /// Whether the tables must be read, so that they do not fill.
    pub(super) const fn are_many(&self) -> bool {
        self.ended >= self.allowed
    }

    /// The tables were read: as many may end as fill half of what is free, if they are like those that did.
    pub(super) fn cleared(&mut self, tables: [Level; 2]) {
        let ended = std::mem::take(&mut self.ended);
        if ended < FIRST / 10 {
            // Too few to tell.
            self.allowed = FIRST;
            return;
        }
        let fitting = |Level { room, cleared, left }: Level| {
            let each = cleared as f64 / ended as f64;
            (room.saturating_sub(left) as f64 / 2.0 / each.max(1.0)) as usize
        };
        let fitting = tables.map(fitting).into_iter().min().unwrap_or(FIRST);
        // In a table that is full with what lives no look makes room.
        self.allowed = fitting.clamp(FIRST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ended: usize, tables: [Level; 2]) -> Leavings {
        let mut leavings = Leavings::default();
        (0..ended).for_each(|_| leavings.ended());
        leavings.cleared(tables);
        leavings
    }

    fn level(room: usize, cleared: usize, left: usize) -> Level {
        Level { room, cleared, left }
    }

    #[test]
    fn as_many_may_end_as_leave_half_of_the_room_free() {
        assert_eq!(after(200, [level(100_000, 8000, 0), level(2_000_000, 6000, 0)]).allowed, 1250);
        assert_eq!(after(200, [level(100_000, 8000, 60_000), level(2_000_000, 6000, 0)]).allowed, 500);
        assert_eq!(after(200, [level(100_000, 8000, 0), level(20_000, 6000, 0)]).allowed, 333);
    }

    #[test]
    fn a_full_table_is_read_no_more_than_at_first_and_an_empty_one_now_and_then() {
        assert_eq!(after(200, [level(100_000, 8000, 100_000), level(2_000_000, 6000, 0)]).allowed, FIRST);
        assert_eq!(after(200, [level(100_000, 0, 0), level(2_000_000, 0, 0)]).allowed, MOST);
        assert_eq!(after(1, [level(100_000, 0, 0), level(2_000_000, 0, 0)]).allowed, FIRST);
    }

    #[test]
    fn ends_are_counted_from_the_last_look_on() {
        let mut leavings = after(200, [level(100_000, 8000, 0), level(2_000_000, 6000, 0)]);
        assert!(!leavings.are_there());
        (0..1249).for_each(|_| leavings.ended());
        assert!(leavings.are_there() && !leavings.are_many());
        leavings.ended();
        assert!(leavings.are_many());
    }
}
