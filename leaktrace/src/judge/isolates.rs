//! Which JavaScript heap a stack allocates in. Counters and ages at death are kept per stack, and two workers may run
//! the same functions: what dies in one says nothing of the other.

use std::collections::{BTreeSet, HashMap, HashSet};

use leaktrace_common::{process::ProcessId, stack::StackId};

use crate::{
    attribute::Place,
    ledger::{Kind, Site},
};

/// Learned from samples, which know their heap. A stack keeps its heaps when its samples are dead.
#[derive(Debug, Default)]
pub(super) struct Isolates {
    of_stack: HashMap<(ProcessId, StackId), BTreeSet<u64>>,
    /// By what functions are marked with: for stacks none of whose samples lived to be listed. Two isolates have the
    /// same mark if thousands lie between them.
    of_mark: HashMap<(ProcessId, u16), BTreeSet<u64>>,
}

impl Isolates {
    pub(super) fn learn(&mut self, sites: &[Site<'_>]) {
        for site in sites.iter().filter(|site| site.kind == Kind::JavaScript) {
            let process = site.process.id;
            // Before its thread's first collection a sample does not know.
            let heaps = || site.samples.iter().map(|sample| sample.heap).filter(|heap| *heap != 0);
            if heaps().next().is_none() {
                continue;
            }
            self.of_stack.entry((process, site.stack)).or_default().extend(heaps());
            if let Some(mark) = mark(site) {
                self.of_mark.entry((process, mark)).or_default().extend(heaps());
            }
        }
    }

    /// Forgets processes whose books are closed.
    pub(super) fn forget(&mut self, gone: &HashSet<ProcessId>) {
        self.of_stack.retain(|(process, _), _| !gone.contains(process));
        self.of_mark.retain(|(process, _), _| !gone.contains(process));
    }

    /// Whether the stack may have allocated in this heap. One that nothing is known of may have in any.
    pub(super) fn may_be_of(&self, site: &Site<'_>, heap: u64) -> bool {
        let process = site.process.id;
        let by_mark = || self.of_mark.get(&(process, mark(site)?));
        let known = self.of_stack.get(&(process, site.stack)).or_else(by_mark);
        known.is_none_or(|heaps| heaps.contains(&heap))
    }
}

/// How the functions of a stack are marked; those without a script are not.
fn mark(site: &Site<'_>) -> Option<u16> {
    site.taken?.frames().find_map(|frame| match frame.place {
        Place::JavaScript { function, .. } if function.script() != 0 && !function.is_wasm() => {
            Some(function.isolate())
        }
        _ => None,
    })
}
