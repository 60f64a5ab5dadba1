//! `cargo xtask aarch64`: compiles the agent and the kernel side for aarch64, which is not there to run on.

use anyhow::Result;

use crate::{
    checkout::Checkout,
    command::{pinned, plain, run as run_command},
};

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    // The architecture of the probed process, in place of the one that `.cargo/config.toml` names.
    let mut kernel_side = pinned("cargo");
    kernel_side
        .current_dir(checkout.path("leaktrace-ebpf"))
        .args(["check", "--release", "--locked", "--features", "truth", "--target-dir"])
        .arg(checkout.target().join("bpf-aarch64"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Ctarget-cpu=v3 --cfg=bpf_target_arch=\"aarch64\" -Dwarnings");
    run_command(&mut kernel_side)?;
    let mut agent = plain("cargo", checkout);
    agent.args(["check", "--locked", "--package", "leaktrace", "--target", "aarch64-unknown-linux-gnu"]);
    run_command(&mut agent)
}
