//! `cargo xtask test`: everything, with one plain line of counts at the end.

mod counts;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    bpf,
    checkout::Checkout,
    command::{answer, plain, shown},
    layers,
};
use counts::Counts;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the tests on real processes
    #[arg(long)]
    no_kernel: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    let mut counts = Counts::default();
    counts.check("the BPF object matches its sources", bpf::check(checkout));
    counts.check("the laws of the layers", layers::run(checkout));
    counts += tests(plain("cargo", checkout).args(["test", "--no-fail-fast"]))?;

    let mut kernel = plain("cargo", checkout);
    kernel.args(["test", "--package", "tests-kernel", "--no-fail-fast", "--"]);
    if args.no_kernel || !is_root()? {
        counts.skipped += names(kernel.args(["--list"]));
        eprintln!(
            "skipped: the tests on real processes, {}",
            if args.no_kernel {
                "as asked by --no-kernel"
            } else {
                "which place probes and so need root: `sudo -E env PATH=\"$PATH\" cargo xtask test`"
            }
        );
    } else {
        counts += kernel_tests(checkout, &mut kernel)?;
        counts +=
            tests(plain("cargo", checkout).args(["test", "--package", "tests-unwind", "--test", "truth"]))?;
    }
    println!("{counts}");
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

fn kernel_tests(checkout: &Checkout, kernel: &mut Command) -> Result<Counts> {
    let mut agent = plain("cargo", checkout);
    agent.args(["build", "--package", "leaktrace"]);
    crate::command::run(&mut agent)?;
    // One at a time: they measure what one program does, and some keep both cores busy.
    kernel.args(["--test-threads=1"]).env("LEAKTRACE_BIN", checkout.target().join("debug/leaktrace"));
    tests(kernel)
}

/// Runs test binaries, shows what they print and adds up what they say.
fn tests(command: &mut Command) -> Result<Counts> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().context("no pipe")?;
    let (mut counts, mut left_out) = (Counts::default(), 0);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        left_out += u64::from(Counts::is_skip(&line));
        if let Some(of_one) = Counts::from_libtest(&line) {
            counts += of_one.left_out(std::mem::take(&mut left_out));
        }
        writeln!(std::io::stdout(), "{line}")?;
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        eprintln!("`{shown}` failed with no failed test: it did not build, or a test ended the process");
        counts.failed += 1;
    }
    Ok(counts)
}

/// How many tests `--list` names.
fn names(list: &mut Command) -> u64 {
    let listed = answer(list).unwrap_or_default();
    listed.lines().filter(|line| line.ends_with(": test")).count() as u64
}

/// By the owner of this process's folder in /proc, which is its effective user.
fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0)
}
