//! leaktrace: parse, run, exit code.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use leaktrace::{
    cli::{Args, Task, exit::Exit},
    run,
};
use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// With no pid, or with `--follow`, probes stand in libc for every process: they would trap leaktrace's own allocations too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`, in milliseconds
/// (<https://github.com/microsoft/mimalloc/blob/v3.3.2/include/mimalloc.h>, `mi_option_e`).
const PURGE_DELAY: mi_option_t = 15;

/// What a look at all processes takes is needed for a moment only, and the machine may be short of memory just then.
#[allow(unsafe_code, reason = "mimalloc's options have no safe form")]
fn give_memory_back_at_once() {
    // SAFETY: sets a word of the allocator's options, and no other thread runs yet.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

fn main() -> ExitCode {
    give_memory_back_at_once();
    let args = Args::parse();
    if args.is_demo_program() {
        run::demo::native_service();
    }
    let result = args.task().map(|task| match task {
        Task::Trace(plan) => run::run(&plan),
        Task::Census(plan) => run::census(&plan),
        Task::Report(plan) => run::report(&plan),
        Task::Diff(plan) => run::diff(&plan),
    });
    match result {
        Ok(Ok(())) => Exit::Success.into(),
        Ok(Err(failure)) => {
            say(&failure);
            failure.exit().into()
        }
        Err(error) => {
            leaktrace::say!("leaktrace: {error}\n\nFor more: leaktrace --help");
            Exit::Usage.into()
        }
    }
}

/// The error and what it came from, each once.
fn say(error: &dyn Error) {
    leaktrace::say!("leaktrace: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        leaktrace::say!("  because: {cause}");
        source = cause.source();
    }
}
