//! `cargo xtask kernels`: whether leaktrace works on older kernels, which this machine does not run.
//!
//! Debian's kernels for the cloud are booted under qemu's software emulation, so it takes neither root nor a
//! machine that can run virtual ones, and says nothing about speed. The machine has no disk: its root is an initramfs
//! with busybox, leaktrace, and programs of `testprogs/`. Each program's truth is held against its report to the byte.

mod initramfs;
mod machine;
mod packages;
mod verdict;

use std::{fs, path::PathBuf};

use anyhow::{Result, bail};

use crate::{
    checkout::Checkout,
    command::{answer, plain, run as run_command},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Versions to boot, as the first numbers of the packages' names
    #[arg(long = "kernel", value_name = "VERSION", value_delimiter = ',', default_value = "6.1,6.12")]
    kernels: Vec<String>,
    /// Test this leaktrace instead of building one
    #[arg(long)]
    bin: Option<String>,
}

/// How leaktrace comes to its program; the names of shell functions in `init.sh`.
#[derive(Clone, Copy)]
enum Way {
    Launched,
    Attached,
    /// Not to be exact: for forty seconds of a program that does not end by itself.
    InWindows,
}

/// One program traced once.
struct Case {
    name: &'static str,
    way: Way,
    /// C source in `testprogs/`.
    source: &'static str,
    flags: &'static str,
}

/// Together they run every program of the kernel side, and what differs between kernels.
const CASES: [Case; 10] = [
    Case { name: "launched", way: Way::Launched, source: "churn.c", flags: "" },
    Case { name: "attached", way: Way::Attached, source: "churn.c", flags: "" },
    Case { name: "family", way: Way::Attached, source: "family.c", flags: "" },
    Case { name: "mappings", way: Way::Attached, source: "mmap.c", flags: "--mmap" },
    Case { name: "threads", way: Way::Attached, source: "threads_exit.c", flags: "" },
    Case { name: "followed", way: Way::Attached, source: "fork.c", flags: "--follow" },
    Case { name: "exec", way: Way::Attached, source: "exec.c", flags: "" },
    Case { name: "at_ret", way: Way::Attached, source: "tc_new.c", flags: "" },
    // From 6.11 on, return probes end in a system call that such a filter refused until the kernel was mended.
    Case { name: "seccomp", way: Way::Attached, source: "seccomp.c", flags: "" },
    Case { name: "windows", way: Way::InWindows, source: "storm.c", flags: "--budget 20% --epoch 1s" },
];

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    check_tools()?;
    let agent = agent(checkout, args)?;
    let folder = checkout.target().join("kernels");
    fs::create_dir_all(&folder)?;

    let packages = folder.join("packages");
    let initramfs = initramfs::build(&folder, &packages::busybox(&packages)?, &agent, &CASES)?;
    let mut failed = Vec::new();
    for version in &args.kernels {
        let kernel = packages::kernel(&packages, version)?;
        println!("{}", kernel.name);
        let ran = machine::boot(&kernel.image, &initramfs, &folder.join(&kernel.name))?;
        print!("{}", ran.said());
        let wrong = verdict::judge(&ran, &CASES);
        for what in &wrong {
            eprintln!("{version}: {what}");
        }
        if wrong.is_empty() {
            println!("{} cases right in {:.0?}", CASES.len(), ran.took);
        } else {
            eprintln!("the machine's console and results are in {}", ran.folder.display());
            failed.push(version.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("leaktrace does not work on {}", failed.join(" and "));
    }
    Ok(())
}

fn agent(checkout: &Checkout, args: &Args) -> Result<PathBuf> {
    let Some(bin) = &args.bin else {
        run_command(plain("cargo", checkout).args(["build", "--package", "leaktrace"]))?;
        return Ok(checkout.target().join("debug/leaktrace"));
    };
    let bin = checkout.path(bin);
    if !bin.exists() {
        bail!("no leaktrace at {}: leave --bin out to build one", bin.display());
    }
    Ok(bin)
}

/// Installs nothing: says what is missing and what to type.
fn check_tools() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the machine is given programs of this one, which must be x86_64 as its kernels are");
    }
    for tool in ["apt-get", "dpkg-deb"] {
        if answer(std::process::Command::new(tool).arg("--version")).is_none() {
            bail!(
                "{tool} does not run here: the kernels are Debian's packages, use a Debian machine or container"
            );
        }
    }
    for (tool, package) in
        [("qemu-system-x86_64", "qemu-system-x86"), ("gcc", "gcc"), ("strip", "binutils"), ("tar", "tar")]
    {
        if answer(std::process::Command::new(tool).arg("--version")).is_none() {
            bail!(
                "{tool} is missing, which this takes: sudo apt-get install --no-install-recommends {package}"
            );
        }
    }
    Ok(())
}
