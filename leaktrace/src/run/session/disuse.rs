//! Files that no process in the books maps any more are let go after a while. Held open, with its probes, one that was deleted
//! keeps its disk space, and one of a container that is gone keeps its file system.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::Session;
use crate::{
    attribute::Place,
    event::{self, BinaryId},
    kernel::clock,
    symbolize::Names,
};

/// When files were seen to be out of use.
#[derive(Debug)]
pub(super) struct Disuse {
    /// So long they are kept all the same, in nanoseconds: what is started now and then need not be read each time.
    kept: u64,
    next_look: u64,
    since: HashMap<BinaryId, u64>,
    /// Those that were mapped since the last look: by a program that has ended before this one, maybe.
    touched: HashSet<BinaryId>,
}

impl Disuse {
    pub(super) fn new(kept: Duration) -> Self {
        Self { kept: kept.as_nanos() as u64, next_look: 0, since: HashMap::new(), touched: HashSet::new() }
    }

    /// A process has mapped the file.
    pub(super) fn touch(&mut self, id: BinaryId) {
        self.touched.insert(id);
    }

    /// Whether it is time for another look; each takes all that is mapped.
    fn is_due(&mut self, now: u64) -> bool {
        let is_due = now >= self.next_look;
        if is_due {
            self.next_look = now + self.kept / 10;
        }
        is_due
    }

    /// Which of the files that are `held` go now.
    fn look(
        &mut self,
        now: u64,
        held: impl Iterator<Item = BinaryId>,
        used: &HashSet<BinaryId>,
    ) -> HashSet<BinaryId> {
        let touched = std::mem::take(&mut self.touched);
        let is_used = |id: &BinaryId| used.contains(id) || touched.contains(id);
        self.since.retain(|id, _| !is_used(id));
        let unused = held.filter(|id| !is_used(id));
        let gone: HashSet<BinaryId> =
            unused.filter(|id| now - *self.since.entry(*id).or_insert(now) >= self.kept).collect();
        self.since.retain(|id, _| !gone.contains(id));
        gone
    }
}

impl Session {
    /// Lets go of such files: their descriptors, probes and symbols, and their names once no stack is in them. Those that
    /// nobody will ask about any more.
    pub(super) fn drop_unused_files(&mut self, names: &mut Names) -> HashSet<BinaryId> {
        let now = clock::now();
        let Some(admission) = &mut self.admission else { return HashSet::new() };
        // Whoever waits to be traced may have mapped them.
        if admission.has_waiting() || !admission.disuse.is_due(now) {
            return HashSet::new();
        }
        let mappings = self.targets.iter().flat_map(|target| self.ledger.mappings(target.process));
        let used = mappings.filter_map(event::Mapping::binary).chain(self.spaces.binaries()).collect();
        let mut gone = admission.disuse.look(now, self.probes.files(), &used);
        // What is still in the books is named first: such a file stays until the next time.
        self.ledger.forget_places();
        let is_last_chance = |place: &Place| {
            !names.contains(*place) && place.binary().is_some_and(|binary| gone.contains(&binary))
        };
        let nameless: Vec<Place> = self.ledger.places().into_iter().filter(is_last_chance).collect();
        let _ = self.symbols.ask(&nameless, names);
        for binary in nameless.into_iter().filter_map(Place::binary) {
            gone.remove(&binary);
        }
        self.probes.forget(&gone);
        // If the thread is no more, who asks it for names says so.
        let _ = self.symbols.forget_binaries(gone);
        let held: HashSet<BinaryId> = self.probes.files().collect();
        let forgotten = self.ledger.forget_binaries_but(&held);
        if !forgotten.is_empty() {
            names.forget_binaries(&forgotten);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> HashSet<BinaryId> {
        numbers.iter().copied().map(BinaryId).collect()
    }

    #[test]
    fn a_file_goes_when_nobody_had_it_for_all_that_time() {
        let mut disuse = Disuse::new(Duration::from_nanos(100));
        let mut look = |now, used: &[u32]| disuse.look(now, [1, 2].map(BinaryId).into_iter(), &ids(used));
        assert!(look(0, &[1]).is_empty());
        assert!(look(90, &[1, 2]).is_empty());
        assert!(look(110, &[1]).is_empty(), "it was in use at 90");
        assert!(look(209, &[1]).is_empty());
        assert_eq!(look(210, &[1]), ids(&[2]));
    }

    #[test]
    fn a_file_of_programs_that_are_never_seen_at_a_look_stays() {
        let mut disuse = Disuse::new(Duration::from_nanos(100));
        for now in (0..1000).step_by(10) {
            disuse.touch(BinaryId(1));
            assert!(disuse.look(now, [BinaryId(1)].into_iter(), &ids(&[])).is_empty());
        }
        assert!(disuse.look(1000, [BinaryId(1)].into_iter(), &ids(&[])).is_empty());
        assert_eq!(disuse.look(1100, [BinaryId(1)].into_iter(), &ids(&[])), ids(&[1]));
    }

    #[test]
    fn looks_are_a_tenth_of_that_time_apart() {
        let mut disuse = Disuse::new(Duration::from_nanos(100));
        let due = [1, 5, 10, 11, 20, 21].map(|now| disuse.is_due(now));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
