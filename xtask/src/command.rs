//! Starting other programs with an environment that says only what is meant.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;

/// Set by the cargo and rustup that run xtask, about xtask itself. A cargo inside would take them for orders.
fn is_about_xtask(name: &str) -> bool {
    matches!(name, "CARGO" | "RUSTC" | "RUSTDOC" | "LD_LIBRARY_PATH" | "OUT_DIR" | "RUST_RECURSION_COUNT")
        || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| name.starts_with(p))
}

/// What a person sets for their own builds and what must not reach one whose result is checked in.
fn changes_a_build(name: &str) -> bool {
    matches!(name, "RUSTUP_TOOLCHAIN" | "RUSTFLAGS" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER")
        || ["CARGO_BUILD_", "CARGO_ENCODED_", "CARGO_INCREMENTAL", "CARGO_PROFILE_", "CARGO_TARGET_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn without(mut command: Command, unwanted: impl Fn(&str) -> bool) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(&unwanted) {
            command.env_remove(name);
        }
    }
    command
}

/// A program run in the checkout as the person at the shell would run it.
pub(crate) fn plain(program: &str, checkout: &Checkout) -> Command {
    let mut command = without(Command::new(program), is_about_xtask);
    command.current_dir(checkout.root());
    command
}

/// A program run so that only the checkout decides what comes out: toolchain file, manifests, config files.
pub(crate) fn pinned(program: &str) -> Command {
    without(Command::new(program), |name| is_about_xtask(name) || changes_a_build(name))
}

/// Runs it, its output on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What it printed, trimmed; none when it is not installed or failed.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the machine has a program of this name.
pub(crate) fn is_installed(program: &str) -> bool {
    answer(Command::new("which").arg(program)).is_some()
}

/// As it could be typed.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_settings_reach_a_pinned_build_and_flags_do_not() {
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "PATH", "RUSTUP_HOME"] {
            assert!(!is_about_xtask(name) && !changes_a_build(name), "{name} is dropped");
        }
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN"] {
            assert!(changes_a_build(name), "{name} gets through");
        }
    }
}
