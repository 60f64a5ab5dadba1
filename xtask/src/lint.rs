//! `cargo xtask lint`: format, clippy, dependencies, spelling. All of it runs, then it says what failed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    checkout::Checkout,
    command::{answer, pinned, plain, run as run_command, shown},
};

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let mut failed = Vec::new();
    let mut step = |command: &mut Command| {
        eprintln!("$ {}", shown(command));
        if let Err(error) = run_command(command) {
            failed.push(format!("{error:#}"));
        }
    };

    step(plain("cargo", checkout).args(["fmt", "--all", "--check"]));
    step(in_ebpf(checkout).args(["fmt", "--check"]));
    step(plain("cargo", checkout).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    // Clippy of the kernel side builds core, which needs its sources.
    if has_core_sources(checkout) {
        step(in_ebpf(checkout).args(["clippy", "--release", "--locked", "--", "-D", "warnings"]));
    } else {
        eprintln!("skipped: clippy of leaktrace-ebpf, it needs `rustup component add rust-src`");
    }
    // The database of advisories is left out: a closed network cannot fetch it.
    step(plain("cargo", checkout).args([
        "deny",
        "--workspace",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]));
    step(plain("typos", checkout).args(["--config", "typos.toml"]));

    if !failed.is_empty() {
        bail!("{}\n(not installed? `cargo install --locked cargo-deny typos-cli`)", failed.join("\n"));
    }
    Ok(())
}

fn in_ebpf(checkout: &Checkout) -> Command {
    let mut cargo = pinned("cargo");
    cargo
        .current_dir(checkout.path("leaktrace-ebpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", checkout.path("target/bpf"));
    cargo
}

fn has_core_sources(checkout: &Checkout) -> bool {
    let mut rustc = pinned("rustc");
    rustc.current_dir(checkout.path("leaktrace-ebpf")).args(["--print", "sysroot"]);
    answer(&mut rustc)
        .is_some_and(|sysroot| std::path::Path::new(&sysroot).join("lib/rustlib/src/rust/library").is_dir())
}
