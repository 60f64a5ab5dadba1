//! V8's own functions, see `leaktrace_common::v8::Point`. None of them is called by JavaScript directly: a return probe
//! on one that is would end the process at its next collection.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{hook::Cookie, process::ProcessId, v8::Layout};

use super::traced;
use crate::{read, stack, v8};

/// The current process and its layout, if it is traced and has V8.
#[inline(always)]
fn with_v8() -> Option<(ProcessId, &'static mut Layout)> {
    let process = traced()?.id;
    Some((process, v8::layout(process)?))
}

#[uprobe]
pub fn v8_collect_enter(context: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::begin(layout, process, stack::regs(&context));
    }
    0
}

#[uretprobe]
pub fn v8_collect_return(_: RetProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::end(layout, process);
    }
    0
}

#[uretprobe]
pub fn v8_size_return(context: RetProbeContext) -> u32 {
    if traced().is_some() {
        v8::size_of_objects(stack::regs(&context).returned());
    }
    0
}

#[uprobe]
pub fn v8_young_moved(_: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::young_moved(layout, process);
    }
    0
}

#[uprobe]
pub fn v8_marked(context: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::marked(layout, process, stack::regs(&context));
    }
    0
}

#[uprobe]
pub fn v8_evacuated(_: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::evacuated(layout, process);
    }
    0
}

#[uprobe]
pub fn v8_refill(context: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
        let regs = stack::regs(&context);
        let size = regs.argument(cookie.size_arg);
        v8::refill(layout, process, regs, cookie.hook, size);
    }
    0
}

/// The same where the kernel runs one program at a function's entry and, if that is asked for by 0, at its return too.
///
/// Written out, since `#[uprobe]` makes a program that returns 0 whatever its function does.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn v8_refill_session(context: *mut c_void) -> u32 {
    let context = ProbeContext::new(context);
    let Some((process, layout)) = with_v8() else { return 1 };
    let regs = stack::regs(&context);
    let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
    if regs.instruction_pointer() != read::probed_function(context.as_ptr()) {
        v8::allocate_return(layout, process, regs, cookie.hook);
        return 0;
    }
    let is_sample = v8::refill_and_wait(layout, regs, regs.argument(cookie.size_arg));
    if is_sample { 0 } else { 1 }
}

#[uprobe]
pub fn v8_allocate_enter(context: ProbeContext) -> u32 {
    if let Some((_, layout)) = with_v8() {
        let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
        v8::allocate_enter(layout, stack::regs(&context).argument(cookie.size_arg));
    }
    0
}

#[uretprobe]
pub fn v8_allocate_return(context: RetProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
        v8::allocate_return(layout, process, stack::regs(&context), cookie.hook);
    }
    0
}

#[uprobe]
pub fn v8_allocate_observed(context: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        let cookie = Cookie::unpack(read::cookie(context.as_ptr()));
        v8::allocate_observed(layout, process, stack::regs(&context), cookie.hook);
    }
    0
}

#[uprobe]
pub fn v8_tear_down(context: ProbeContext) -> u32 {
    if let Some((process, layout)) = with_v8() {
        v8::tear_down(layout, process, stack::regs(&context));
    }
    0
}
