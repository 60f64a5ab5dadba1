//! Which stacks a verdict names.

use std::collections::HashMap;

use crate::report::{Report, Stack, Verdict};

/// The verdict on each stack that one names as bad, by process and id. Of several the worst, which is the first.
pub(super) struct Marks<'a>(HashMap<(u32, &'a str), &'a Verdict>);

impl<'a> Marks<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let mut marks = HashMap::new();
        for verdict in report.verdicts.iter().filter(|verdict| verdict.is_bad()) {
            for member in &verdict.members {
                marks.entry((verdict.process, member.as_str())).or_insert(verdict);
            }
        }
        Self(marks)
    }

    /// `LEAK PROVEN`, `LEAK` or `SUSPECT`.
    pub(super) fn name(&self, stack: &Stack) -> Option<&'a str> {
        self.get(stack).map(|verdict| verdict.verdict.as_ref())
    }

    pub(super) fn is_leak(&self, stack: &Stack) -> bool {
        self.get(stack).is_some_and(Verdict::is_leak)
    }

    fn get(&self, stack: &Stack) -> Option<&'a Verdict> {
        self.0.get(&(stack.process, stack.stack.as_str())).copied()
    }
}

/// Whether its growth is drawn: it is bad, and its rate is known.
pub(super) fn is_drawn(verdict: &Verdict) -> bool {
    verdict.is_bad() && verdict.bytes_per_second > 0.0 && verdict.evidence.window_ns > 0
}
