//! What a person reads of a stack with JavaScript in it: the functions of the program and of node's library, and of what
//! lies below only the one that tells. V8's own way from one to the other, and the event loop that started it all, are
//! the same in every stack, and differ with the tier that a function happens to run in.

use super::Frame;

/// Native functions between and around JavaScript that tell nothing, by the start of their names.
const MACHINERY: &[&str] = &[
    "Builtins_",
    "construct_stub_",
    "v8::",
    "node::MakeCallback",
    "node::InternalMakeCallback",
    "node::InternalCallbackScope",
    "node::AsyncWrap::MakeCallback",
    "node::SpinEventLoop",
    "node::NodeMainInstance",
    "node::Start",
    "node::LoadEnvironment",
    "node::StartExecution",
    "node::Environment::RunTimers",
    "node::Environment::CheckImmediate",
    "node::Environment::RunAndClearNativeImmediates",
    "node::worker::Worker::Run",
    "node::builtins::",
    "uv__",
    "__libc_start",
];
/// The same, whole names.
const MACHINERY_NAMED: &[&str] = &["uv_run", "_start", "main", "start_thread", "clone3"];

/// The frames to show, innermost first, and how many are left out.
#[must_use]
pub fn visible<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> (Vec<&'a Frame>, usize) {
    let mut frames: Vec<&Frame> = frames.into_iter().collect();
    let all = frames.len();
    if frames.iter().any(|frame| frame.is_javascript()) {
        frames.retain(|frame| frame.is_javascript() || !is_machinery(frame));
    }
    let left_out = all - frames.len();
    (frames, left_out)
}

impl Frame {
    /// Frames of JavaScript have a file and no module.
    #[must_use]
    pub const fn is_javascript(&self) -> bool {
        self.module.is_none() && self.file.is_some()
    }
}

fn is_machinery(frame: &Frame) -> bool {
    frame.function.as_deref().is_some_and(|function| {
        MACHINERY.iter().any(|start| function.starts_with(start)) || MACHINERY_NAMED.contains(&function)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, module: Option<&str>) -> Frame {
        Frame {
            function: Some(function.to_owned()),
            module: module.map(str::to_owned),
            file: module.is_none().then(|| "/app/server.js".to_owned()),
            line: Some(1),
            ..Frame::default()
        }
    }

    fn shown(frames: &[Frame]) -> (Vec<&str>, usize) {
        let (frames, left_out) = visible(frames);
        (frames.into_iter().filter_map(|frame| frame.function.as_deref()).collect(), left_out)
    }

    #[test]
    fn the_way_between_functions_is_left_out_and_counted() {
        let native = |name| frame(name, Some("node"));
        let frames = [
            native("node::NodeArrayBufferAllocator::Allocate(unsigned long)"),
            native("v8::internal::BackingStore::Allocate(v8::internal::Isolate*)"),
            native("Builtins_CEntry_Return1_ArgvOnStack_BuiltinExit"),
            frame("alloc", None),
            native("construct_stub_create_deopt_addr"),
            frame("openSession", None),
            native("Builtins_JSEntry"),
            native("uv_run"),
            native("main"),
        ];
        let names = ["node::NodeArrayBufferAllocator::Allocate(unsigned long)", "alloc", "openSession"];
        assert_eq!(shown(&frames), (names.to_vec(), 6));
    }

    #[test]
    fn a_stack_without_javascript_is_whole() {
        let frames = [frame("grow", Some("service")), frame("main", Some("service"))];
        assert_eq!(shown(&frames), (vec!["grow", "main"], 0));
    }
}
