//! leaktrace: parse, run, exit code.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use leaktrace::{
    cli::{Args, exit::Exit},
    run,
};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.is_demo_program() {
        run::demo::native_service();
    }
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("leaktrace: {error}\n\nFor more: leaktrace --help");
            return Exit::Usage.into();
        }
    };
    match run::run(&plan) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            say(&failure);
            failure.exit().into()
        }
    }
}

/// The error and what it came from, each once.
fn say(error: &dyn Error) {
    eprintln!("leaktrace: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}
