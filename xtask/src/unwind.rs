//! `cargo xtask unwind`: what walking a stack costs beside the kernel's own `bpf_get_stackid`, and how long unwind tables
//! take, by a release build.

use anyhow::Result;

use crate::{
    checkout::Checkout,
    command::{plain, run as run_command},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail where a cost stays over its limit, see `tests-unwind/src/bin/cost.rs`
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    tests_kernel::needs_root();
    let mut cost = plain("cargo", checkout);
    cost.args(["run", "--release", "--package", "tests-unwind", "--bin", "cost", "--"]);
    if args.check {
        cost.arg("--check");
    }
    run_command(&mut cost)
}
