//! Memory that belongs to V8 itself: its pages, its compilers, its collector. It comes and goes with V8's own needs and is
//! never the leak of the JavaScript function that happened to run.

use super::Frame;

/// A part of V8, by what stands in the names of its functions.
#[derive(Debug)]
pub(super) struct Part {
    owner: Option<&'static str>,
    functions: &'static [&'static str],
}

/// What a program asked for comes first: buffers are made below V8's functions too. But what node keeps for the tasks of V8's
/// collectors and compilers is no program's.
const PARTS: &[Part] = &[
    Part {
        owner: Some("V8's tasks"),
        functions: &[
            "node::PerIsolatePlatformData::",
            "node::NodePlatform",
            "node::TaskQueue<",
            "node::DelayedTask",
            "node::WorkerThreadsTaskRunner",
            "node::(anonymous namespace)::PlatformWorkerThread",
            "v8::platform::",
        ],
    },
    // Its own lists, not the buffers.
    Part { owner: Some("V8's garbage collector"), functions: &["v8::internal::ArrayBufferSweeper"] },
    Part { owner: None, functions: &["BackingStore", "ArrayBuffer", "node::"] },
    Part {
        owner: Some("V8's heap pages"),
        functions: &[
            "v8::internal::MemoryAllocator::",
            "v8::internal::MemoryChunk",
            "v8::internal::SemiSpace",
            "v8::internal::PagedSpace",
            "v8::internal::PagePool",
            "v8::internal::Heap::SetUp",
        ],
    },
    Part { owner: Some("V8's code space"), functions: &["v8::internal::CodeRange::", "CodePageAllocator"] },
    Part {
        owner: Some("V8's garbage collector"),
        functions: &[
            "v8::internal::Heap::PerformGarbageCollection",
            "v8::internal::MarkCompactCollector",
            "v8::internal::Scavenger",
            "v8::internal::Sweeper",
            "v8::internal::ConcurrentMarking",
            "v8::internal::IncrementalMarking",
            "v8::internal::MarkingWorklist",
            "v8::internal::RememberedSet",
            "v8::internal::Heap::InsertIntoRememberedSet",
            "v8::internal::SlotSet",
            "heap::base::Worklist",
            "cppgc::internal::",
        ],
    },
    Part {
        owner: Some("V8's parser and compilers"),
        functions: &[
            "v8::internal::Zone::",
            "v8::internal::AccountingAllocator",
            "v8::internal::compiler::",
            "v8::internal::maglev::",
            "v8::internal::baseline::",
            "v8::internal::interpreter::",
            "v8::internal::Parser",
            "v8::internal::Compiler::",
            "v8::internal::OptimizingCompileDispatcher",
            "v8::internal::OptimizedCompilationJob",
        ],
    },
];

/// What one frame says of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    Nothing,
    Part(&'static Part),
    /// What is further out asked for nothing itself.
    JavaScript,
}

impl Says {
    pub(super) fn of(frame: &Frame) -> Self {
        if frame.module.is_none() {
            return Self::JavaScript;
        }
        frame.function.as_deref().and_then(part_of).map_or(Self::Nothing, Self::Part)
    }
}

/// The part of V8 that a stack of native memory belongs to: told by the innermost function that tells, up to the first of
/// JavaScript. None for everything else.
pub(super) fn of(frames: impl IntoIterator<Item = Says>) -> Option<&'static str> {
    for frame in frames {
        match frame {
            Says::Nothing => {}
            Says::Part(part) => return part.owner,
            Says::JavaScript => return None,
        }
    }
    None
}

/// The same by the names of the native functions, innermost first.
#[must_use]
pub fn owner<'a>(functions: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    functions.into_iter().find_map(part_of).and_then(|part| part.owner)
}

fn part_of(function: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.functions.iter().any(|name| function.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str) -> Frame {
        let is_javascript = function.ends_with(".js");
        Frame {
            function: Some(function.to_owned()),
            module: (!is_javascript).then(|| "node".to_owned()),
            ..Frame::default()
        }
    }

    fn owner(functions: &[&str]) -> Option<&'static str> {
        of(functions.iter().map(|function| Says::of(&frame(function))))
    }

    #[test]
    fn what_v8_needs_for_itself_is_its_own_whoever_ran() {
        let zone = ["operator new", "v8::internal::Zone::Expand(unsigned long)", "work.js"];
        assert_eq!(owner(&zone), Some("V8's parser and compilers"));
        let worklist =
            ["heap::base::Worklist<v8::internal::HeapObject>::Push()", "v8::internal::Heap::Scavenge()"];
        assert_eq!(owner(&worklist), Some("V8's garbage collector"));
    }

    #[test]
    fn tasks_that_node_keeps_for_v8_are_no_programs() {
        let tasks = [
            "operator new",
            "std::_Deque_base<std::unique_ptr<node::DelayedTask> >::_M_initialize_map(unsigned long)",
            "node::PerIsolatePlatformData::FlushForegroundTasksInternal()",
        ];
        assert_eq!(owner(&tasks), Some("V8's tasks"));
        let sweeper = ["operator new", "v8::internal::ArrayBufferSweeper::Prepare(v8::internal::X)"];
        assert_eq!(owner(&sweeper), Some("V8's garbage collector"));
        let in_a_task = ["node::Buffer::New()", "node::PerIsolatePlatformData::RunForegroundTask()"];
        assert_eq!(owner(&in_a_task), None, "what a task does is its own");
    }

    #[test]
    fn what_the_program_asked_for_is_its_own() {
        let buffer =
            ["v8::internal::BackingStore::Allocate(v8::internal::Isolate*)", "v8::internal::Heap::X", "f.js"];
        assert_eq!(owner(&buffer), None);
        assert_eq!(owner(&["f.js", "v8::internal::Compiler::Compile()"]), None, "an outer call says nothing");
        assert_eq!(owner(&["main"]), None);
    }
}
