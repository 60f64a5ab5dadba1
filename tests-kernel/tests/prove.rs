//! Lost blocks are found by searching the memory of a running program, and no others: `leaktrace::reach` on real
//! processes, which tell themselves where their blocks are.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use leaktrace::{
    kernel::{Kernel, Options, Registers, clock},
    reach::{BlockAt, Prover, Scan, Settings},
};
use leaktrace_common::{process::ProcessId, stack::StackId, thread::ThreadRegisters};
use tests_kernel::{
    Program,
    compile::{Compiler, compiled},
    private_libs::PrivateLibs,
};

const LOST: [&str; 3] = ["lost_ring", "lost_single", "lost_tree"];

/// Quicker than a user's: what it finds does not depend on it, as each scan makes all its passes.
fn settings() -> Settings {
    Settings { apart: 0, youngest: 0, ..Settings::new(clock::page_size()) }
}

/// The kernel side without probes, of which only the list of registers is used here.
fn registers(pid: u32) -> Result<(Kernel, Registers)> {
    let mut kernel = Kernel::load(Options {
        min_size: 0,
        max_size: u64::MAX,
        max_live: 1024,
        max_stacks: 1024,
        probe_by_probe: false,
    })?;
    let registers = kernel.load_registers()?;
    kernel.trace(pid, ProcessId(1), 0)?;
    Ok((kernel, registers))
}

/// Blocks as the program told of them; the name of a site is its stack.
struct Told {
    sites: BTreeMap<StackId, String>,
    blocks: Vec<BlockAt>,
}

impl Told {
    fn by(program: &Program) -> Self {
        let mut told = Self { sites: BTreeMap::new(), blocks: Vec::new() };
        for value in &program.truth.other {
            let number = |name: &str| value.get(name).and_then(serde_json::Value::as_u64);
            let site = value.get("site").and_then(serde_json::Value::as_str);
            if let (Some(address), Some(size), Some(site)) = (number("block"), number("size"), site) {
                let known = told.sites.iter().find(|(_, name)| *name == site).map(|(stack, _)| *stack);
                let stack = known.unwrap_or(StackId(told.sites.len() as u64 + 1));
                told.sites.insert(stack, site.to_owned());
                told.blocks.push(BlockAt { address, size, stack, born: 1 });
            }
        }
        told
    }

    /// Blocks that as many scans did not reach, by site.
    fn unreachable(&self, prover: &Prover, scans: u32) -> BTreeMap<&str, u64> {
        let all = self.sites.iter().map(|(stack, site)| (site.as_str(), prover.unreachable(*stack)));
        all.filter(|(_, found)| found.blocks > 0 && found.scans >= scans)
            .map(|(site, found)| (site, found.blocks))
            .collect()
    }
}

fn scan(prover: &mut Prover, registers: &Registers, blocks: &[BlockAt]) -> Result<Scan> {
    Ok(prover.scan(clock::now(), blocks, &mut || registers.list().map_err(Into::into))?)
}

fn planted() -> BTreeMap<&'static str, u64> {
    LOST.into_iter().map(|site| (site, 50)).collect()
}

fn lost_blocks_are_found_and_no_others(arguments: &[&str], rounds: u32) -> Result<()> {
    let mut program = Program::start("prove.c", Compiler::Gcc, arguments)?;
    program.work()?;
    let told = Told::by(&program);
    let (_kernel, registers) = registers(program.pid())?;
    let mut prover = Prover::new(program.pid(), settings())?;
    for round in 0..rounds {
        // A new one each time: each three scans could be somebody's first three.
        if round % 3 == 0 {
            prover = Prover::new(program.pid(), settings())?;
        }
        let found = scan(&mut prover, &registers, &told.blocks)?;
        if round < 3 {
            println!("{found:?}");
        }
        ensure!(found.counts, "{found:?}");
        // Not even by one scan.
        assert_eq!(told.unreachable(&prover, round % 3 + 1), planted());
    }
    program.end()
}

#[test]
fn every_lost_block_is_proven_lost_and_none_that_is_held_or_moves_to_and_fro() -> Result<()> {
    lost_blocks_are_found_and_no_others(&[], rounds())
}

#[test]
fn blocks_that_move_between_the_heap_and_a_global_are_never_taken_for_lost() -> Result<()> {
    lost_blocks_are_found_and_no_others(&["heap"], rounds())
}

/// Scans of a test; more to measure how seldom the race is lost.
fn rounds() -> u32 {
    std::env::var("LEAKTRACE_PROVE_SCANS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// Prints how often: what further passes and scans have to make good for.
#[test]
fn one_pass_alone_is_known_to_miss_some_moving_blocks() -> Result<()> {
    for arguments in [&[][..], &["heap"]] {
        let mut program = Program::start("prove.c", Compiler::Gcc, arguments)?;
        program.work()?;
        let told = Told::by(&program);
        let (_kernel, registers) = registers(program.pid())?;
        let mut missed = 0;
        let passes = 100;
        for _ in 0..passes {
            let mut prover = Prover::new(program.pid(), Settings { dry: 0, ..settings() })?;
            ensure!(scan(&mut prover, &registers, &told.blocks)?.passes == 1);
            missed += told.unreachable(&prover, 1).get("held_moving").copied().unwrap_or(0);
        }
        println!(
            "{arguments:?}: {missed} of {} in {passes} single passes over 256 moving blocks",
            passes * 256
        );
        program.end()?;
    }
    Ok(())
}

#[test]
fn without_registers_what_only_they_hold_would_be_taken_for_lost() -> Result<()> {
    let mut program = Program::start("prove.c", Compiler::Gcc, &[])?;
    program.work()?;
    let told = Told::by(&program);
    let (_kernel, registers) = registers(program.pid())?;
    let mut prover = Prover::new(program.pid(), settings())?;
    let mut nothing = || {
        let mut threads = registers.list()?;
        // All but the stack pointer.
        threads.iter_mut().for_each(|thread| thread.words[..19].fill(0));
        Ok(threads)
    };
    prover.scan(clock::now(), &told.blocks, &mut nothing)?;
    let found = told.unreachable(&prover, 1);
    for site in ["held_register", "held_waiting_register"] {
        assert_eq!(found.get(site), Some(&1), "the test holds it elsewhere too: {found:?}");
    }
    let none = prover.scan(clock::now(), &told.blocks, &mut || Ok(Vec::<ThreadRegisters>::new()))?;
    ensure!(!none.counts && none.unsure.is_some(), "unknown registers prove nothing: {none:?}");
    program.end()
}

#[test]
fn young_blocks_and_what_they_hold_are_not_judged() -> Result<()> {
    let mut program = Program::c("prove.c")?;
    program.work()?;
    let mut told = Told::by(&program);
    let ring = told
        .sites
        .iter()
        .find(|(_, site)| *site == "lost_ring")
        .map(|(stack, _)| *stack)
        .context("no ring")?;
    let now = clock::now();
    let one = told.blocks.iter_mut().find(|block| block.stack == ring).context("no block")?;
    one.born = now;
    let (_kernel, registers) = registers(program.pid())?;
    let mut prover = Prover::new(program.pid(), Settings { youngest: 1_000_000_000_000, ..settings() })?;
    for block in &mut told.blocks {
        block.born = block.born.max(1);
    }
    let found = prover
        .scan(now + 1_000_000_000_000 - 1, &told.blocks, &mut || registers.list().map_err(Into::into))?;
    assert_eq!(found.young, 1);
    assert_eq!(prover.unreachable(ring).blocks, 0, "the young one holds the whole ring");
    program.end()
}

#[test]
fn scans_change_nothing_and_a_program_that_ends_is_an_error() -> Result<()> {
    let mut program = Program::c("prove.c")?;
    program.work()?;
    let told = Told::by(&program);
    let (_kernel, registers) = registers(program.pid())?;
    let mut prover = Prover::new(program.pid(), settings())?;
    let faults = |pid: u32| -> Result<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let rest = stat.rsplit_once(") ").context("no stat")?.1;
        // Minor and major faults, and pages resident.
        Ok([7, 9, 21].map(|at| rest.split(' ').nth(at).unwrap_or_default().to_owned()).to_vec())
    };
    let before = faults(program.pid())?;
    for _ in 0..3 {
        scan(&mut prover, &registers, &told.blocks)?;
    }
    assert_eq!(faults(program.pid())?, before, "a page was brought in");
    let pid = program.pid();
    program.end()?;
    ensure!(scan(&mut prover, &registers, &told.blocks).is_err(), "{pid} is gone");
    Ok(())
}

/// Prints what scans cost. `LEAKTRACE_PROVE_BLOCKS` sets how many blocks there are.
#[test]
fn a_large_heap_is_searched_and_its_cost_is_known() -> Result<()> {
    let count: u64 =
        std::env::var("LEAKTRACE_PROVE_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let list = tempfile::NamedTempFile::new()?;
    let path = list.path().to_str().context("not UTF-8")?;
    let executable = compiled("prove_bulk.c", Compiler::Gcc)?;
    let arguments = [count.to_string(), path.to_owned()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut program = Program::start_file(&executable, &arguments, PrivateLibs::copy(&[])?, &[])?;
    program.work()?;
    let bytes = fs::read(list.path())?;
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let block = |pair: &[u64]| BlockAt { address: pair[0], size: pair[1], stack: StackId(1), born: 1 };
    let blocks: Vec<BlockAt> = words.chunks_exact(2).map(block).collect();
    assert_eq!(blocks.len() as u64, count);
    let (_kernel, registers) = registers(program.pid())?;
    let mut prover = Prover::new(program.pid(), settings())?;
    for _ in 0..3 {
        let found = scan(&mut prover, &registers, &blocks)?;
        let seconds = found.nanoseconds as f64 / 1e9;
        println!(
            "{} blocks, {} MB by {} passes in {seconds:.3} s: {:.0} ms/GB, {:.2} million blocks/s a pass",
            found.blocks,
            found.bytes / 1_000_000,
            found.passes,
            seconds * 1e12 / found.bytes as f64,
            found.blocks as f64 * f64::from(found.passes) / seconds / 1e6
        );
        ensure!(found.counts, "{found:?}");
        assert_eq!(found.unreached, count / 100);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(prover.unreachable(StackId(1)).scans, 3);
    program.end()
}

/// `leaktrace --prove` itself, from its flags to its report.
mod from_the_command_line {
    use tests_kernel::{Agent, Report, needs_root, node::node};

    use super::*;

    /// Scans are a second apart then.
    const FLAGS: [&str; 3] = ["--prove", "--epoch", "1s"];
    const FLAGS_AND_CODE: [&str; 5] = ["--prove", "--epoch", "1s", "--fail-on", "leak"];

    /// Watches a new one of a program, for longer where a busy machine made fewer scans than a proof needs.
    fn watched(start: impl Fn() -> Result<Program>, works_on: bool) -> Result<(Report, Option<i32>)> {
        for seconds in [8, 30, 90] {
            let mut program = start()?;
            let agent = Agent::attach(&[program.pid()], &FLAGS_AND_CODE)?;
            program.begin()?;
            if !works_on {
                program.finish()?;
            }
            thread::sleep(Duration::from_secs(seconds));
            let (report, code) = agent.stop_with_code()?;
            if works_on {
                program.begin()?;
                program.finish()?;
            }
            program.end()?;
            if report.proofs.first().is_some_and(|proof| proof.scans >= 3) {
                return Ok((report, code));
            }
        }
        anyhow::bail!("not enough scans in 90 s")
    }

    /// The one process's, if enough scans were made.
    fn searched(report: &Report) -> Result<&tests_kernel::report::Proof> {
        let [proof] = report.proofs.as_slice() else {
            anyhow::bail!("not one process was searched: {:?}", report.proofs)
        };
        ensure!(proof.scans >= 3, "{proof:?}");
        println!("{proof:?}");
        Ok(proof)
    }

    fn proven(report: &Report) -> impl Iterator<Item = &tests_kernel::report::Verdict> {
        report.verdicts.iter().filter(|verdict| verdict.verdict == "LEAK PROVEN")
    }

    #[test]
    fn each_place_that_loses_blocks_is_a_proven_leak_and_none_that_holds_them() -> Result<()> {
        needs_root();
        let (report, code) = watched(|| Program::c("prove.c"), false)?;
        assert_eq!(code, Some(7), "{:#?}", report.verdicts);
        let proof = searched(&report)?;
        assert_eq!((proof.lost, proof.refuted), (150, 0), "{proof:?}");
        for site in LOST {
            let blocks: u64 = proven(&report)
                .filter(|verdict| verdict.has(site))
                .filter_map(|verdict| verdict.evidence["unreachable"]["blocks"].as_u64())
                .sum();
            assert_eq!(blocks, 50, "{site}: {:#?}", report.verdicts);
        }
        for verdict in proven(&report) {
            ensure!(LOST.iter().any(|site| verdict.has(site)), "{} is held: {:?}", verdict.text, verdict);
        }
        Ok(())
    }

    #[test]
    fn a_program_that_loses_nothing_has_no_proven_leak() -> Result<()> {
        needs_root();
        let (report, code) = watched(|| Program::start("zoo.c", Compiler::Gcc, &["lru", "30"]), true)?;
        let proof = searched(&report)?;
        assert_eq!((proof.lost, proof.refuted), (0, 0), "{proof:?}");
        assert_eq!((proven(&report).count(), code), (0, Some(0)), "{:#?}", report.verdicts);
        Ok(())
    }

    #[test]
    fn a_program_that_ends_too_soon_says_that_nothing_was_judged_and_why() -> Result<()> {
        needs_root();
        let mut program = Program::c("prove.c")?;
        let mut agent = Agent::attach(&[program.pid()], &FLAGS)?;
        program.work()?;
        thread::sleep(Duration::from_millis(1500));
        program.end()?;
        let report = agent.ended()?;
        let proof = report.proofs.first().context("no word of the search")?;
        ensure!(proof.scans < 3 && proof.not_searched.is_some(), "{proof:?}");
        assert_eq!(proven(&report).count(), 0, "{:#?}", report.verdicts);
        Ok(())
    }

    #[test]
    fn nothing_in_node_is_taken_for_lost_as_v8s_memory_holds_it() -> Result<()> {
        needs_root();
        let Some(node) = node(20) else { return Ok(()) };
        // What is kept natively is held by JavaScript objects; it is searched for while they move about.
        let start = || Program::node_with(&node, &["--expose-gc"], "zoo.js", &["buffers", "30"]);
        let (report, _) = watched(start, true)?;
        let proof = searched(&report)?;
        ensure!(proof.blocks > 100, "too few blocks to speak of: {proof:?}");
        assert_eq!((proof.lost, proof.refuted), (0, 0), "{proof:?}");
        assert_eq!(proven(&report).count(), 0, "{:#?}", report.verdicts);
        Ok(())
    }
}
