//! leaktrace's own commands: `cargo xtask COMMAND`, one file each.

mod aarch64;
mod bench;
mod bpf;
mod checkout;
mod command;
mod dist;
mod kernels;
mod layers;
mod lint;
mod stamp;
mod test;
mod unwind;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checkout::Checkout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "leaktrace's own build, test and bench commands")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the kernel side and puts the object, with a stamp of its sources, into leaktrace/bpf/
    Bpf(bpf::Args),
    /// Compiles agent and kernel side for aarch64 (needs its target and a C compiler for it)
    Aarch64,
    /// Checks the laws of ARCHITECTURE.md on the sources: who may import what
    Layers,
    /// Runs everything: stamp, laws, unit tests, and (as root) the tests on real processes
    Test(test::Args),
    /// Format, clippy, licences and sources of dependencies, spelling
    Lint,
    /// What tracing costs: a malloc and free, or with --javascript a node program's CPU time
    Bench(bench::Args),
    /// Writes what a package has beside the program: shell completions and man pages
    Dist,
    /// What walking a stack costs beside the kernel's own way, and how long unwind tables take
    Unwind(unwind::Args),
    /// Boots older kernels under emulation and holds leaktrace's reports there against the truth
    Kernels(kernels::Args),
    /// Judges simulated programs by the verdict and by other tools' rules, and prints the tables
    Zoo(zoo::Args),
}

fn main() -> ExitCode {
    if let Some(code) = bpf::if_called_as_rustc() {
        return code;
    }
    let args = Args::parse();
    let outcome = Checkout::find().and_then(|checkout| match args.command {
        Command::Bpf(args) => bpf::run(&checkout, &args),
        Command::Aarch64 => aarch64::run(&checkout),
        Command::Layers => layers::run(&checkout),
        Command::Test(args) => test::run(&checkout, &args),
        Command::Lint => lint::run(&checkout),
        Command::Bench(args) => bench::run(&checkout, &args),
        Command::Dist => dist::run(&checkout),
        Command::Unwind(args) => unwind::run(&checkout, &args),
        Command::Kernels(args) => kernels::run(&checkout, &args),
        Command::Zoo(args) => zoo::run(&checkout, &args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
