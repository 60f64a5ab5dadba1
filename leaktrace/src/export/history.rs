//! How memory went up to a report: from reports that were made before it, which only a recording has.

use std::collections::HashMap;

use super::marks::is_drawn;
use crate::report::Report;

/// Live bytes at moments, the earliest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Nanoseconds since tracing began.
    pub(super) at_ns: Vec<u64>,
    pub(super) native: Vec<u64>,
    /// Estimates; none before there was an engine.
    pub(super) javascript: Vec<Option<u64>>,
    /// Of each verdict that the last report draws: what its stacks held.
    pub(super) verdicts: Vec<Vec<u64>>,
    /// Verdicts' places in that list, by process and stack.
    members: HashMap<(u32, String), usize>,
}

impl History {
    /// Of what this report, which is the last, calls leaks and suspects. Nothing is in it yet.
    #[must_use]
    pub fn up_to(last: &Report) -> Self {
        let mut history = Self::default();
        for verdict in last.verdicts.iter().filter(|verdict| is_drawn(verdict)) {
            let place = history.verdicts.len();
            history.verdicts.push(Vec::new());
            for member in &verdict.members {
                history.members.entry((verdict.process, member.clone())).or_insert(place);
            }
        }
        history
    }

    /// The next moment.
    pub fn add(&mut self, report: &Report) {
        let mut verdicts = vec![0; self.verdicts.len()];
        let mut key = (0, String::new());
        for stack in &report.stacks {
            key.0 = stack.process;
            key.1.clone_from(&stack.stack);
            if let Some(place) = self.members.get(&key) {
                verdicts[*place] += stack.totals.live_bytes;
            }
        }
        self.at_ns.push(report.traced_ns);
        self.native.push(report.totals.live_bytes);
        self.javascript.push(report.javascript_bytes());
        for (bytes, now) in self.verdicts.iter_mut().zip(verdicts) {
            bytes.push(now);
        }
    }
}
