//! Our tables against framehop's reading of the same files: from the same address, registers and stack both have to
//! find the same caller. The stack holds random words, so that any other place read is another result.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in helpers too")]

// The harness of the kernel tests is built on this crate and so cannot be a dependency.
#[path = "../../../tests-kernel/src/skip.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the harness, and `cargo xtask test` reads its mark"
)]
mod skip;

mod oracle;
mod padding;

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use leaktrace::unwind::{
    arena::Chunks,
    image::{self, Image, Images},
    mapping::{Code, CodeMapping},
    page::Pages,
    rows,
    rule::Machine,
    segment::{self, Segment},
    tables::{Processes, Tables},
};
use leaktrace_common::{
    process::ProcessId,
    stack::StopReason,
    unwind::{
        Aarch64, Architecture, CHUNK_WORDS, Kind, MappingEntry, ProcessTable, Registers, Rule, World, X86_64,
        rule_at, step,
    },
};
use proptest::{prelude::*, strategy::ValueTree};

use oracle::{Answer, Oracle, OracleAarch64, OracleX86_64, Question};
use padding::Padding;

/// Addresses compared for each file.
const SAMPLES: u32 = 20_000;
/// Where the file is loaded; its code is far above the stack.
const BASE: u64 = 0x5555_0000_0000;

struct Heap;

impl Chunks for Heap {
    type Chunk = Vec<u32>;

    fn grow(&mut self) -> io::Result<Vec<u32>> {
        Ok(vec![0; CHUNK_WORDS])
    }
}

/// The kernel's map with one entry.
#[derive(Clone, Default)]
struct Entry(Rc<Cell<ProcessTable>>);

impl Processes for Entry {
    fn publish(&mut self, _: ProcessId, table: ProcessTable) -> io::Result<()> {
        self.0.set(table);
        Ok(())
    }

    fn withdraw(&mut self, _: ProcessId) -> io::Result<()> {
        Ok(())
    }
}

struct OneFile(PathBuf);

impl Images for OneFile {
    fn open(&mut self, _: &CodeMapping) -> io::Result<Image> {
        Ok(Image::File(File::open(&self.0)?))
    }
}

/// The word at every address of a stack without end: a multiple of 8, like the addresses that frames hold.
fn word(seed: u64, address: u64) -> u64 {
    let mut word = (address ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word ^= word >> 29;
    word.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 17 & !7
}

/// A file's tables, and the stack.
struct Ours<'a> {
    tables: &'a Tables<Heap, Entry>,
    table: ProcessTable,
    mapping: MappingEntry,
    seed: u64,
}

impl World for Ours<'_> {
    fn rule(&mut self, pc: u64) -> Result<Rule, StopReason> {
        rule_at(self.tables.arena(), &self.table, &mut self.mapping, pc)
    }

    fn stack_word(&mut self, address: u64) -> Option<u64> {
        address.is_multiple_of(8).then(|| word(self.seed, address))
    }

    fn stack_words(&mut self, _: u64) -> Option<[u64; 8]> {
        None
    }

    fn returns_to(&mut self, _: u64, found: u64) -> u64 {
        found
    }
}

fn ask_ours<A: Architecture>(ours: &mut Ours<'_>, question: &Question) -> Result<Answer, StopReason> {
    let mut registers = Registers {
        pc: question.pc + 1,
        stack_pointer: question.stack_pointer,
        frame_pointer: question.frame_pointer,
        second: question.second,
        is_return: 1,
        ..Registers::default()
    };
    ours.seed = question.seed;
    step::<A, _>(&mut registers, ours)?;
    let frame_pointer = match registers.frame_pointer_at {
        0 => registers.frame_pointer,
        place => word(question.seed, place),
    };
    Ok(Some((registers.pc, registers.stack_pointer, frame_pointer)))
}

/// How often the answers were what.
#[derive(Debug, Default)]
struct Agreement {
    equal: u32,
    /// We stop, saying why; framehop guesses on by frame pointers, or stops too.
    stopped: BTreeMap<StopReason, u32>,
    /// framehop goes by frame pointers where it does not know the form of a rule (counted from rbx, or read from the
    /// stack), which we do.
    unknown_to_framehop: u32,
    /// Between two functions, where no call is: there we have the rule of the function before.
    padding: u32,
    different: u32,
}

fn compare<A: Architecture>(path: &Path, machine: Machine, mut oracle: impl Oracle) -> Agreement {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let segments = segment::executable(&file);
    let padding = Padding::of(&file, &data, machine);
    let entry = Entry::default();
    let mut tables = Tables::new(Heap, entry.clone());
    let mappings: Vec<CodeMapping> =
        segments.iter().zip(1..).map(|(segment, inode)| mapping(segment, inode)).collect();
    let gaps = tables.update(ProcessId(1), &mappings, &mut OneFile(path.into()), Duration::ZERO).unwrap();
    assert!(gaps.unreadable.is_empty(), "{gaps:?}");
    let mut ours = Ours { tables: &tables, table: entry.0.get(), mapping: MappingEntry::default(), seed: 0 };
    let mut agreement = Agreement::default();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let questions = (0..segments.len(), any::<u64>(), 0..1u64 << 20, 0..1u64 << 20, any::<u64>());
    for _ in 0..SAMPLES {
        let (segment, at, frame_pointer, second, seed) = questions.new_tree(&mut runner).unwrap().current();
        let stack_pointer = 0x1_0000_0000;
        let question = Question {
            pc: BASE + segments[segment].address + at % segments[segment].size,
            stack_pointer,
            frame_pointer: stack_pointer + frame_pointer * 8,
            second: stack_pointer + second * 8,
            seed,
        };
        let theirs = oracle.ask(&question);
        match ask_ours::<A>(&mut ours, &question) {
            Err(StopReason::End) if theirs.is_none() => agreement.equal += 1,
            Err(reason) => *agreement.stopped.entry(reason).or_default() += 1,
            Ok(answer) if answer == theirs => agreement.equal += 1,
            Ok(_) if theirs == question.guess() && is_unknown_to_framehop(&mut ours, question.pc) => {
                agreement.unknown_to_framehop += 1;
            }
            Ok(_) if theirs == question.guess() && padding.is_at(question.pc - BASE) => {
                agreement.padding += 1;
            }
            Ok(answer) => {
                agreement.different += 1;
                if agreement.different <= 5 {
                    println!("{path:?} {:#x}: {answer:x?} {theirs:x?}", question.pc - BASE);
                }
            }
        }
    }
    println!("{}: {agreement:?}", path.display());
    agreement
}

fn is_unknown_to_framehop(ours: &mut Ours<'_>, pc: u64) -> bool {
    let forms = [Kind::Second, Kind::DerefFramePointer, Kind::DerefStackPointer];
    ours.rule(pc).is_ok_and(|rule| forms.iter().any(|kind| *kind as u32 == rule.kind()))
}

fn mapping(segment: &Segment, inode: u64) -> CodeMapping {
    let page = segment.offset & !0xfff;
    let start = BASE + segment.address - (segment.offset - page);
    let end = (BASE + segment.address + segment.size).next_multiple_of(0x1000);
    CodeMapping { start, end, offset: page, code: Code::File { device: 1, inode } }
}

fn check_x86_64(path: &str) {
    let Ok(path) = fs::canonicalize(path) else {
        skipped(&format!("there is no {path} here"));
        return;
    };
    check_file(&path);
}

fn skipped(why: &str) {
    skip::skip("tools", why);
}

fn check_file(path: &Path) {
    let agreement = compare::<X86_64>(path, Machine::X86_64, OracleX86_64::of(path));
    assert_eq!(agreement.different, 0);
    assert!(agreement.equal > SAMPLES / 2, "{agreement:?}");
}

/// As the kernel maps it into this process.
#[test]
fn the_vdso_is_unwound_as_framehop_does() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else {
        skipped("the kernel maps no vDSO here");
        return;
    };
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let code = CodeMapping { start, end, offset: 0, code: Code::Vdso };
    let Ok(Image::Bytes(bytes)) = image::vdso(std::process::id(), &code) else { panic!("it cannot be read") };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vdso.so");
    fs::write(&path, bytes).unwrap();
    check_file(&path);
}

#[test]
fn libc_is_unwound_as_framehop_does() {
    check_x86_64("/lib/x86_64-linux-gnu/libc.so.6");
}

#[test]
fn the_dynamic_linker_is_unwound_as_framehop_does() {
    check_x86_64("/lib64/ld-linux-x86-64.so.2");
}

#[test]
fn libstdcxx_is_unwound_as_framehop_does() {
    check_x86_64("/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
}

#[test]
fn interpreters_and_tools_are_unwound_as_framehop_does() {
    for path in ["/usr/bin/python3", "/usr/bin/perl", "/usr/bin/git", "/usr/bin/clang"] {
        check_x86_64(path);
    }
}

/// A build that `.ci/run` fetched, or the machine's own.
fn node() -> Option<PathBuf> {
    let builds = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../node");
    let fetched = [26, 24, 22, 20].map(|major| builds.join(format!("{major}/bin/node")));
    fetched.into_iter().chain(["/usr/bin/node".into()]).find(|node| node.exists())
}

#[test]
fn nodes_executable_is_unwound_as_framehop_does() {
    match node() {
        Some(node) => check_file(&node),
        None => skipped("there is no node here"),
    }
}

#[test]
fn this_rust_program_is_unwound_as_framehop_does() {
    check_x86_64(std::env::current_exe().unwrap().to_str().unwrap());
}

/// Of Debian's package for compilers, or another one.
fn aarch64_libc() -> Option<PathBuf> {
    let named = std::env::var_os("LEAKTRACE_AARCH64_LIBC").map(PathBuf::from);
    let path = named.unwrap_or_else(|| "/usr/aarch64-linux-gnu/lib/libc.so.6".into());
    path.exists().then_some(path)
}

#[test]
fn an_aarch64_libc_is_unwound_as_framehop_does() {
    let Some(path) = aarch64_libc() else {
        skipped("no aarch64 libc: `apt-get install libc6-arm64-cross`, or LEAKTRACE_AARCH64_LIBC names one");
        return;
    };
    let agreement = compare::<Aarch64>(&path, Machine::Aarch64, OracleAarch64::of(&path));
    assert_eq!(agreement.different, 0);
    assert!(agreement.equal > SAMPLES / 2, "{agreement:?}");
}

#[test]
fn tables_of_nodes_executable_are_small() {
    let Some(node) = node() else {
        skipped("there is no node here");
        return;
    };
    let data = fs::read(node).unwrap();
    let rows = rows::read(&object::File::parse(&*data).unwrap(), &data).unwrap();
    let pages = Pages::cut(&rows).unwrap();
    println!(
        "node: {} rows, {} rules, {} pages, {} KiB",
        rows.rows.len(),
        pages.rules.len(),
        pages.counts.len(),
        pages.bytes() / 1024
    );
    assert_eq!(rows.malformed, 0);
    // Debian's 20 has 1.2 MiB; the largest of nodejs.org is 26 with 2.8.
    assert!(pages.bytes() < 3_000_000);
}
