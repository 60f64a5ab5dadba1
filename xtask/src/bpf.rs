//! `cargo xtask bpf`: the kernel side, from source to the object that is checked in.
//!
//! The object is the same to the byte on every checkout and machine with the pinned tools: paths are mapped
//! to fixed names, and nothing of the caller's environment that changes a build is let through.

mod rustc;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    checkout::Checkout,
    command::{answer, pinned, run as run_command},
    stamp::Stamp,
};
pub(crate) use rustc::if_called_as_rustc;

/// The last version that loads rustc's own LLVM: it needs no LLVM of the system.
const LINKER: &str = "0.10.4";
const INSTALL_LINKER: &str =
    "cargo install bpf-linker --version 0.10.4 --no-default-features --features rust-llvm-22 --locked";
const OBJECT: &str = "leaktrace/bpf/leaktrace.bpf.o";
const STAMP: &str = "leaktrace/bpf/leaktrace.bpf.stamp";
const TARGET: &str = "bpfel-unknown-none";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say whether the object came from the sources as they are; exit code 1 if not
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    if args.check { check(checkout) } else { build(checkout) }
}

/// Needs no BPF toolchain.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let said = Stamp::read(&checkout.path(STAMP))?;
    let found = Stamp::make(checkout, &checkout.path(OBJECT))?;
    if said.object != found.object {
        bail!("{OBJECT} is not the file that its stamp was made for: `cargo xtask bpf` builds both anew");
    }
    if said.sources != found.sources {
        bail!(
            "{OBJECT} came from other sources than these: the agent would load a stale kernel side. \
             `cargo xtask bpf` builds it anew; commit {OBJECT} and {STAMP} with the sources"
        );
    }
    Ok(())
}

fn build(checkout: &Checkout) -> Result<()> {
    let tools = Tools::find(checkout)?;
    let target_dir = checkout.path("target/bpf");
    let mut cargo = pinned("cargo");
    cargo
        .current_dir(checkout.path("leaktrace-ebpf"))
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target_dir)
        .args(["--config", &tools.remapping(checkout)])
        // Building core from source is the one unstable thing that is used; stable rustc takes it on this word.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", env::current_exe().context("cannot find this program's own file")?)
        .env(rustc::MARK, "1");
    run_command(&mut cargo)?;

    let built = target_dir.join(TARGET).join("release/leaktrace");
    let object = checkout.path(OBJECT);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    write_if_other(&object, &bytes)?;
    let stamp = Stamp::make(checkout, &object)?;
    write_if_other(&checkout.path(STAMP), stamp.to_string().as_bytes())?;
    println!("{OBJECT} sha256 {}", stamp.object);
    Ok(())
}

/// A file that was written is a newer one to cargo, which compiles the agent once more for it.
fn write_if_other(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What has to be there, and where it is.
struct Tools {
    sysroot: PathBuf,
    cargo_home: PathBuf,
}

impl Tools {
    /// Installs nothing: says what is missing and what to type.
    fn find(checkout: &Checkout) -> Result<Self> {
        let in_ebpf = |mut command: Command| {
            command.current_dir(checkout.path("leaktrace-ebpf"));
            answer(&mut command)
        };
        let mut rustc = pinned("rustc");
        rustc.args(["--print", "sysroot"]);
        let sysroot = in_ebpf(rustc).map(PathBuf::from).context(
            "no rustc: the kernel side is built by the toolchain that rust-toolchain.toml names, \
             `rustup toolchain install` in this folder gets it",
        )?;
        let mut missing = Vec::new();
        if !sysroot.join("lib/rustlib/src/rust/library").is_dir() {
            missing.push(
                "the sources of core, which is compiled for the BPF target:\n    rustup component add rust-src"
                    .to_owned(),
            );
        }
        let mut linker = pinned("bpf-linker");
        linker.arg("--version");
        match in_ebpf(linker) {
            Some(version) if version.split_whitespace().last() == Some(LINKER) => {}
            Some(version) => missing.push(format!(
                "bpf-linker {LINKER} (found: {version}), the one that loads this rustc's LLVM:\n    {INSTALL_LINKER}"
            )),
            None => missing.push(format!("bpf-linker {LINKER} on PATH:\n    {INSTALL_LINKER}")),
        }
        if !missing.is_empty() {
            bail!("the kernel side cannot be built here, as there is missing:\n  {}", missing.join("\n  "));
        }
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
            .context("no CARGO_HOME and no home folder: paths of dependencies cannot be mapped")?;
        Ok(Self { sysroot, cargo_home })
    }

    /// A cargo setting that adds to the flags of leaktrace-ebpf/.cargo/config.toml (the variable RUSTFLAGS would
    /// replace them).
    fn remapping(&self, checkout: &Checkout) -> String {
        let mut pairs = vec![(checkout.root().to_owned(), "/leaktrace"), (self.sysroot.clone(), "/rust")];
        // One folder per registry; its name has a hash of the registry's address.
        let registries = fs::read_dir(self.cargo_home.join("registry/src")).into_iter().flatten().flatten();
        pairs.extend(registries.map(|registry| (registry.path(), "/cargo")));
        let flags: Vec<String> = pairs
            .iter()
            .map(|(from, to)| format!("\"--remap-path-prefix={}={to}\"", from.display()))
            .collect();
        format!("target.{TARGET}.rustflags=[{}]", flags.join(", "))
    }
}
