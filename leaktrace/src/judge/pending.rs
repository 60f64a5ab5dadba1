//! Whole collections of a heap that nobody has looked at yet.
//!
//! A look at the samples costs time, and a program may collect more often than that is spent. Each collection is an epoch
//! nevertheless; how much was allocated in it is told by the heap's sizes.

use crate::verdict::Moment;

#[derive(Debug, Default)]
pub(super) struct Pending {
    ends: Vec<End>,
    /// Bytes allocated since the last of them, as far as they are known.
    allocated: u64,
    /// The heap's size after the last collection of any kind.
    size: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    at_ns: u64,
    allocated: u64,
}

/// An epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) end: Moment,
    pub(super) ended_ns: u64,
    /// Of what was allocated in all of them.
    pub(super) share: f64,
}

impl Pending {
    /// A collection of any kind, with the heap's sizes before and after it.
    pub(super) fn hear(&mut self, before: Option<u64>, after: Option<u64>) {
        if let Some((before, size)) = before.zip(self.size) {
            self.allocated += before.saturating_sub(size);
        }
        self.size = after;
    }

    /// It was a whole one.
    pub(super) fn end(&mut self, at_ns: u64) {
        let allocated = std::mem::take(&mut self.allocated);
        self.ends.push(End { at_ns, allocated });
    }

    /// Takes what is there; the heap's size goes on.
    pub(super) fn take(&mut self) -> Self {
        Self { ends: std::mem::take(&mut self.ends), ..Self::default() }
    }

    /// Epochs that ended before the last one, which is the collection of this number.
    pub(super) fn all_but_the_last(&self, majors: u64) -> impl Iterator<Item = Part> {
        let number = self.ends.len() as u64;
        let all: u64 = self.ends.iter().map(|end| end.allocated).sum();
        let share = move |end: &End| match all {
            // V8 did not say: alike.
            0 => 1.0 / number as f64,
            all => end.allocated as f64 / all as f64,
        };
        let before = self.ends.split_last().map_or(&[][..], |(_, before)| before);
        (1..number).zip(before).map(move |(at, end)| Part {
            end: Moment(majors.saturating_sub(number - at)),
            ended_ns: end.at_ns,
            share: share(end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_collection_has_its_share_of_what_was_allocated() {
        let mut pending = Pending::default();
        pending.hear(None, Some(100));
        pending.end(10);
        drop(pending.take());
        // A scavenge between two whole ones.
        for (before, after, whole) in
            [(130, 110, false), (140, 100, true), (120, 100, true), (140, 100, true)]
        {
            pending.hear(Some(before), Some(after));
            if whole {
                pending.end(10 * before);
            }
        }
        let parts: Vec<Part> = pending.take().all_but_the_last(9).collect();
        let part = |end, ended_ns, share| Part { end: Moment(end), ended_ns, share };
        assert_eq!(parts, [part(7, 1400, 0.5), part(8, 1200, 20.0 / 120.0)]);
        assert_eq!(pending.take().all_but_the_last(9).count(), 0);
    }

    #[test]
    fn without_sizes_all_have_the_same_share() {
        let mut pending = Pending::default();
        for at in 1..=4 {
            pending.hear(None, None);
            pending.end(at);
        }
        assert!(pending.all_but_the_last(4).all(|part| (part.share - 0.25).abs() < 1e-9));
    }
}
