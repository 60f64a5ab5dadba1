//! leaktrace with what it derives from V8's binary made wrong, in the way that `LEAKTRACE_MISLED` names: its checks on the
//! running process have to find out.

use std::process::ExitCode;

use clap::Parser as _;
use leaktrace::{
    cli::{Args, Task, exit::Exit},
    run,
    runtime::v8::distort,
};
use leaktrace_common::v8::Layout;

fn main() -> ExitCode {
    let wrong: fn(&mut Layout) = match std::env::var("LEAKTRACE_MISLED").as_deref() {
        Ok("nothing") => |_| {},
        Ok("areas") => |layout| layout.allocator_area -= 8,
        Ok("pages all old") => |layout| layout.page_flags = 0x1000,
        Ok("marks") => |layout| layout.mark_bitmap += 0x1000,
        Ok("maps") => |layout| layout.map_type += 1,
        other => panic!("LEAKTRACE_MISLED is {other:?}"),
    };
    distort::set(Some(wrong));
    let Ok(Task::Trace(plan)) = Args::parse().task() else { return Exit::Usage.into() };
    match run::run(&plan) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            eprintln!("leaktrace-misled: {failure}");
            failure.exit().into()
        }
    }
}
