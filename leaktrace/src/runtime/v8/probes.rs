//! Which of V8's functions are probed.
//!
//! Functions of V8's own C++ alone, never one that JavaScript or a builtin calls (`Runtime_*`, `Builtin_*`, callbacks
//! of the API): a return probe there puts its trampoline where V8 finds the place a frame runs at, and the next
//! collection ends the process (`Check failed: maybe_code.has_value()`).

mod clone;

use std::collections::BTreeSet;

use leaktrace_common::v8::Point;

use super::derive::is_part;
use crate::{
    binary::{Binary, FileOffset, Function, LinkAddress},
    probe_site::{self, Callee},
};

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    pub point: Point,
    /// Mangled.
    pub symbol: String,
    pub at: FileOffset,
    /// Fires when the function returns; else at its entry.
    pub returns: bool,
    /// Which argument, counted from 0 with `this`, is the size of what is allocated; 0 where nothing is.
    pub size_argument: u8,
}

/// A function that tells something, by the start of its mangled name: arguments differ by version.
struct Hook {
    point: Point,
    prefix: &'static str,
    entry: bool,
    returns: bool,
    /// How many arguments the kernel side reads, `this` counted.
    arguments: u8,
    size: Size,
}

enum Size {
    None,
    Argument(u8),
    /// Behind the `LocalHeap*` that V8 12 put first.
    BehindLocalHeap,
}

const HOOKS: &[Hook] = &[
    Hook {
        point: Point::Collect,
        prefix: "_ZN2v88internal4Heap24PerformGarbageCollectionE",
        entry: true,
        returns: true,
        arguments: 3,
        size: Size::None,
    },
    Hook {
        point: Point::SizeOfObjects,
        prefix: "_ZN2v88internal4Heap13SizeOfObjectsEv",
        entry: false,
        returns: true,
        arguments: 1,
        size: Size::None,
    },
    Hook {
        point: Point::YoungMoved,
        prefix: "_ZN2v88internal19NewLargeObjectSpace15FreeDeadObjectsE",
        entry: true,
        returns: false,
        arguments: 1,
        size: Size::None,
    },
    Hook {
        point: Point::Marked,
        prefix: "_ZN2v88internal20MarkCompactCollector22ClearNonLiveReferencesEv",
        entry: true,
        returns: false,
        arguments: 1,
        size: Size::None,
    },
    Hook {
        point: Point::Evacuated,
        prefix: "_ZN2v88internal20MarkCompactCollector29UpdatePointersAfterEvacuationEv",
        entry: true,
        returns: false,
        arguments: 1,
        size: Size::None,
    },
    Hook {
        point: Point::AllocateSlow,
        prefix: "_ZN2v88internal13MainAllocator15AllocateRawSlowEi",
        entry: true,
        returns: false,
        arguments: 2,
        size: Size::Argument(1),
    },
    // V8 12 has a function of this name in MainAllocator, which AllocateRawSlow calls.
    Hook {
        point: Point::AllocateObserved,
        prefix: "_ZN2v88internal19SpaceWithLinearArea25InvokeAllocationObserversEmmmm",
        entry: true,
        returns: false,
        arguments: 3,
        size: Size::Argument(2),
    },
    Hook {
        point: Point::AllocateLarge,
        prefix: "_ZN2v88internal19NewLargeObjectSpace11AllocateRawE",
        entry: true,
        returns: true,
        arguments: 3,
        size: Size::BehindLocalHeap,
    },
    Hook {
        point: Point::AllocateLarge,
        prefix: "_ZN2v88internal19OldLargeObjectSpace11AllocateRawE",
        entry: true,
        returns: true,
        arguments: 3,
        size: Size::BehindLocalHeap,
    },
    Hook {
        point: Point::TearDown,
        prefix: "_ZN2v88internal4Heap8TearDownEv",
        entry: true,
        returns: false,
        arguments: 1,
        size: Size::None,
    },
];

/// What is probed, and clones that are not since their arguments are not known to be in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) points: Vec<ProbePoint>,
    pub(super) left_out: Vec<String>,
}

impl Plan {
    pub(super) fn has(&self, point: Point) -> bool {
        self.points.iter().any(|probe| probe.point == point)
    }
}

pub(super) fn plan(binary: &Binary<'_>) -> Plan {
    let mut plan = Plan::default();
    for hook in HOOKS {
        plan.add(binary, hook);
    }
    plan
}

impl Plan {
    fn add(&mut self, binary: &Binary<'_>, hook: &Hook) {
        let found: Vec<_> = binary
            .functions()
            .iter()
            .filter(|function| function.name.starts_with(hook.prefix) && !is_part(function.name))
            .collect();
        let mut seen = BTreeSet::new();
        for function in &found {
            // An overload that only passes its call on would have every allocation counted twice.
            if passes_on_to(binary, function, &found) || !seen.insert(function.address) {
                continue;
            }
            if let Some(original) = clone::original(function.name)
                && !clone::keeps_arguments(binary, &found, original, function, hook.arguments)
            {
                self.left_out.push(function.name.to_owned());
                continue;
            }
            let Some(at) = binary.offset_of(function.address) else { continue };
            let size_argument = hook.size.argument(function.name);
            for returns in [false, true] {
                if if returns { hook.returns } else { hook.entry } {
                    let symbol = function.name.to_owned();
                    self.points.push(ProbePoint { point: hook.point, symbol, at, returns, size_argument });
                }
            }
        }
    }
}

impl Size {
    fn argument(&self, name: &str) -> u8 {
        match self {
            Self::None => 0,
            Self::Argument(argument) => *argument,
            Self::BehindLocalHeap => 1 + u8::from(name.contains("AllocateRawEPNS0_9LocalHeapEi")),
        }
    }
}

fn passes_on_to(binary: &Binary<'_>, function: &Function<'_>, others: &[&Function<'_>]) -> bool {
    let is_other = |target: LinkAddress| {
        target != function.address && others.iter().any(|other| other.address == target)
    };
    matches!(probe_site::forwards_to(binary, function, false), Some(Callee::Here(target)) if is_other(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_javascript_calls_is_ever_probed() {
        for hook in HOOKS {
            assert!(!hook.prefix.contains("Runtime_") && !hook.prefix.contains("Builtin"), "{}", hook.prefix);
        }
    }

    #[test]
    fn every_point_has_a_hook() {
        for point in Point::ALL {
            assert!(HOOKS.iter().any(|hook| hook.point == point), "{point:?}");
        }
    }

    #[test]
    fn a_large_object_s_size_is_behind_the_local_heap_if_there_is_one() {
        let size = |name| Size::BehindLocalHeap.argument(name);
        assert_eq!(size("_ZN2v88internal19NewLargeObjectSpace11AllocateRawEi"), 1);
        assert_eq!(size("_ZN2v88internal19NewLargeObjectSpace11AllocateRawEPNS0_9LocalHeapEi"), 2);
        assert_eq!(
            size("_ZN2v88internal19OldLargeObjectSpace11AllocateRawEPNS0_9LocalHeapEiNS0_14AllocationHintE"),
            2
        );
    }
}
