//! leaktrace: parse, run, exit code.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use leaktrace::{
    cli::{Args, Task, exit::Exit},
    run,
};
use mimalloc::MiMalloc;

/// With no pid, or with `--follow`, probes stand in libc for every process: they would trap leaktrace's own allocations too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
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
