//! Where probes go in a file.

use leaktrace_common::{hook::Cookie, v8::Point};

use crate::{
    kernel::attach::Program, probe_site::Returns, runtime::v8::probes::ProbePoint, target::FoundHook,
};

/// What attaching to one file did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Attached {
    pub(in super::super) functions: usize,
    pub(in super::super) probes: usize,
    /// Probes on instructions that the kernel has to single-step.
    pub(in super::super) slow: usize,
    /// Functions with ways out that are not probed.
    pub(in super::super) incomplete: usize,
    /// Probes of a JavaScript engine.
    pub(in super::super) engine_probes: usize,
}

/// Whether it is what programs mostly call, by whatever prefix.
pub(super) fn is_frequent(hook: &FoundHook) -> bool {
    hook.symbol.ends_with("malloc") || hook.symbol.ends_with("free")
}

/// Program, file offset and whether the kernel emulates the instruction there.
pub(super) fn places(hook: &FoundHook, at_entry: bool) -> Vec<(Program, u64, bool)> {
    let entry =
        if at_entry { hook.entry.offset.0 - u64::from(hook.entry.from_entry) } else { hook.entry.offset.0 };
    let emulated = hook.entry.emulated && (!at_entry || hook.entry.from_entry == 0);
    match &hook.returns {
        Returns::NotNeeded => vec![(Program::FreeEnter, entry, emulated)],
        // Both sit on one instruction and cost one trap.
        Returns::Uretprobe => {
            vec![(Program::CallReturn, entry, emulated), (Program::CallEnter, entry, emulated)]
        }
        Returns::AtRet { sites, incomplete: _ } => {
            let mut places: Vec<_> = sites.iter().map(|site| (Program::CallAtRet, site.0, false)).collect();
            places.push((Program::CallEnter, entry, emulated));
            places
        }
    }
}

pub(super) fn program_of(point: &ProbePoint) -> Program {
    match (point.point, point.returns) {
        (Point::Collect, false) => Program::V8CollectEnter,
        (Point::Collect, true) => Program::V8CollectReturn,
        (Point::SizeOfObjects, _) => Program::V8SizeReturn,
        (Point::YoungMoved, _) => Program::V8YoungMoved,
        (Point::Marked, _) => Program::V8Marked,
        (Point::Evacuated, _) => Program::V8Evacuated,
        (Point::AllocateSlow, _) => Program::V8Refill,
        (Point::AllocateLarge, false) => Program::V8AllocateEnter,
        (Point::AllocateLarge, true) => Program::V8AllocateReturn,
        (Point::AllocateObserved, _) => Program::V8AllocateObserved,
        (Point::TearDown, _) => Program::V8TearDown,
    }
}

pub(super) fn cookie_of(point: &ProbePoint, number: u16) -> u64 {
    let shape = point.point as u8;
    let (size_arg, hook) = (point.size_argument, number);
    Cookie { shape, size_arg, count_arg: 0, pointer_arg: 0, hook, pushed_words: 0, at_ret: 0 }.pack()
}
