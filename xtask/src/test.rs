//! `cargo xtask test`: everything, with one plain line of counts at the end.

mod counts;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    bpf,
    checkout::Checkout,
    command::{answer, plain, shown},
    layers,
};
use counts::Counts;

/// Files of tests on real processes that keep both cores busy, trace every process, or hold the time that something takes
/// against a bound: nothing runs beside them.
const ALONE: [&str; 6] = ["budget", "demo", "fleet", "memory", "system", "v8_stress"];
/// Those that take about as long as all others that are not alone.
const BESIDE: [&str; 2] = ["v8", "verified"];
/// So many tests on real processes that failed are run once more: more at one time are no chance.
const RETRIED: usize = 3;

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
    let of_members = ["leaktrace", "leaktrace-common", "xtask", "zoo"].map(|member| files(checkout, member));
    let of_members = of_members.into_iter().collect::<Result<Vec<_>>>()?.concat();
    counts += tests(cargo_test(checkout, &of_members).args(["--lib", "--bins"]))?.counts;

    let of_kernel = files(checkout, "tests-kernel")?;
    if args.no_kernel || !is_root()? {
        counts.skipped += names(cargo_test(checkout, &of_kernel).args(["--", "--list"]));
        eprintln!(
            "skipped: the tests on real processes, {}",
            if args.no_kernel {
                "as asked by --no-kernel"
            } else {
                "which place probes and so need root: `sudo -E env PATH=\"$PATH\" cargo xtask test`"
            }
        );
    } else {
        counts += kernel_tests(checkout, &of_kernel)?;
        counts += tests(&mut cargo_test(checkout, &files(checkout, "tests-unwind")?))?.counts;
    }
    println!("{counts}");
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

/// Tests in the files of these names. Always of the whole workspace, whichever of them run: with another choice of packages,
/// dependencies have other features, and all of it is compiled once more.
fn cargo_test(checkout: &Checkout, files: &[String]) -> Command {
    let mut command = plain("cargo", checkout);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.args(files.iter().flat_map(|name| ["--test", name]));
    command
}

/// The names of a member's files of tests.
fn files(checkout: &Checkout, member: &str) -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(checkout.path(member).join("tests")) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_one =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        let name = path.file_stem().filter(|_| is_one);
        names.extend(name.map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn kernel_tests(checkout: &Checkout, files: &[String]) -> Result<Counts> {
    let Ran { mut counts, failed } = side_by_side(checkout, files)?;
    if failed.is_empty() || failed.len() > RETRIED {
        return Ok(counts);
    }
    // They have deadlines, and what else the machine does is not theirs to say. A test that is wrong fails again, and one
    // that did not is told, to be looked into.
    let again = tests(one_at_a_time(checkout, files).arg("--exact").args(&failed))?;
    // If the run itself came to grief, what was not heard of did not pass.
    let is_heard = again.counts.failed == again.failed.len() as u64;
    for name in failed.iter().filter(|name| is_heard && !again.failed.contains(name)) {
        println!("flaky: {name} failed, and passed when it was run once more");
        counts.passed += 1;
        counts.failed -= 1;
    }
    Ok(counts)
}

/// In two lanes, and then those that are to run alone.
fn side_by_side(checkout: &Checkout, files: &[String]) -> Result<Ran> {
    let (alone, others): (Vec<_>, Vec<_>) =
        files.iter().cloned().partition(|name| ALONE.contains(&name.as_str()));
    let (beside, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|name| BESIDE.contains(&name.as_str()));
    let run = |files: &[String]| tests(&mut one_at_a_time(checkout, files));
    let (beside, ran) = thread::scope(|scope| {
        let beside = scope.spawn(|| run(&beside));
        let ran = run(&others);
        (beside.join(), ran)
    });
    let mut all = Ran::default();
    for ran in [beside.map_err(|_| anyhow!("a thread panicked"))?, ran, run(&alone)] {
        let Ran { counts, failed } = ran?;
        all.counts += counts;
        all.failed.extend(failed);
    }
    Ok(all)
}

/// The agent was built for its own package's tests.
fn one_at_a_time(checkout: &Checkout, files: &[String]) -> Command {
    let mut command = cargo_test(checkout, files);
    command.env("LEAKTRACE_BIN", checkout.target().join("debug/leaktrace"));
    command.args(["--", "--test-threads=1"]);
    command
}

/// What test binaries said.
#[derive(Default)]
struct Ran {
    counts: Counts,
    /// Names.
    failed: Vec<String>,
}

/// Runs test binaries, shows what they print and adds up what they say.
fn tests(command: &mut Command) -> Result<Ran> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().context("no pipe")?;
    let (mut counts, mut left_out, mut failed) = (Counts::default(), 0, Vec::new());
    // Binaries that began and have not said how it went: a test ended the process.
    let mut unheard = 0;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        left_out += u64::from(Counts::is_skip(&line));
        failed.extend(counts::failed(&line).map(str::to_owned));
        unheard += u64::from(counts::is_start(&line));
        if let Some(of_one) = Counts::from_libtest(&line) {
            unheard = unheard.saturating_sub(1);
            counts += of_one.left_out(std::mem::take(&mut left_out));
        }
        writeln!(std::io::stdout(), "{line}")?;
    }
    let status = child.wait()?;
    counts.failed += unheard;
    if !status.success() && counts.failed == 0 {
        eprintln!("`{shown}` failed with no failed test: it did not build, or a test ended the process");
        counts.failed += 1;
    }
    Ok(Ran { counts, failed })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_have_a_place_of_their_own_are_there() {
        let files = files(&Checkout::find().unwrap(), "tests-kernel").unwrap();
        let named = ALONE.into_iter().chain(BESIDE);
        assert_eq!(named.filter(|name| !files.iter().any(|file| file == name)).collect::<Vec<_>>(), [""; 0]);
    }
}
