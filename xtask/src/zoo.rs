//! `cargo xtask zoo`: simulated programs that leak or do not, and how well the verdict and other tools' rules tell
//! them apart.

use anyhow::Result;

use crate::{
    checkout::Checkout,
    command::{plain, run as run_command},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// 4 hours of each class instead of 20
    #[arg(long)]
    quick: bool,
    /// Seeds for tuning the rule instead of those for judging it
    #[arg(long)]
    tune: bool,
    /// So many hours of each class
    #[arg(long)]
    hours: Option<u32>,
    /// How long an epoch of 100,000 deep stacks takes, instead
    #[arg(long)]
    scale: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    let Args { quick, tune, hours, scale } = args;
    let mut cargo = plain("cargo", checkout);
    cargo.args(["run", "--quiet", "--package", "zoo"]);
    // The simulation is fast enough as the tests build it; a time is one of a release.
    if *scale {
        cargo.arg("--release");
    }
    cargo.arg("--");
    for (given, flag) in [(quick, "--quick"), (tune, "--tune"), (scale, "--scale")] {
        if *given {
            cargo.arg(flag);
        }
    }
    if let Some(hours) = hours {
        cargo.args(["--hours", &hours.to_string()]);
    }
    run_command(&mut cargo)
}
