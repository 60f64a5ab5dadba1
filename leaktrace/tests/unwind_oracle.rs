//! Our tables against framehop's reading of the same files: from the same address, registers and stack both have to
//! find the same caller. The stack holds random words, so that any other place read is another result.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in helpers too")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder,
    aarch64::{CacheAarch64, UnwindRegsAarch64, UnwinderAarch64},
    x86_64::{CacheX86_64, Reg, UnwindRegsX86_64, UnwinderX86_64},
};
use leaktrace::unwind::{
    arena::Chunks,
    image::{Image, Images},
    mapping::{Code, CodeMapping},
    page::Pages,
    rows,
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
use object::{Object, ObjectSection};
use proptest::{prelude::*, strategy::ValueTree};

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

/// What both unwinders are asked, and the answer: the caller's address, stack pointer and frame pointer.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// The instruction of the call.
    pc: u64,
    stack_pointer: u64,
    frame_pointer: u64,
    second: u64,
    seed: u64,
}

type Answer = Option<(u64, u64, u64)>;

trait Oracle {
    fn ask(&mut self, question: &Question) -> Answer;
}

struct OracleX86_64(UnwinderX86_64<Vec<u8>>, CacheX86_64);

impl Oracle for OracleX86_64 {
    fn ask(&mut self, question: &Question) -> Answer {
        let mut regs = UnwindRegsX86_64::new(question.pc + 1, question.stack_pointer, question.frame_pointer);
        regs.set(Reg::RBX, question.second);
        let address = FrameAddress::from_return_address(question.pc + 1)?;
        let mut read = |address| Ok(word(question.seed, address));
        let caller = self.0.unwind_frame(address, &mut regs, &mut self.1, &mut read).ok()??;
        Some((caller, regs.sp(), regs.bp()))
    }
}

struct OracleAarch64(UnwinderAarch64<Vec<u8>>, CacheAarch64);

impl Oracle for OracleAarch64 {
    fn ask(&mut self, question: &Question) -> Answer {
        let mut regs =
            UnwindRegsAarch64::new(question.second, question.stack_pointer, question.frame_pointer);
        let address = FrameAddress::from_return_address(question.pc + 1)?;
        let mut read = |address| Ok(word(question.seed, address));
        let caller = self.0.unwind_frame(address, &mut regs, &mut self.1, &mut read).ok()??;
        Some((caller, regs.sp(), regs.fp()))
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
    different: u32,
}

impl Question {
    /// What the frame-pointer chain says.
    fn guess(&self) -> Answer {
        let read = |address| word(self.seed, address);
        Some((read(self.frame_pointer + 8), self.frame_pointer + 16, read(self.frame_pointer)))
    }
}

fn compare<A: Architecture>(path: &Path, mut oracle: impl Oracle) -> Agreement {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let segments = segment::executable(&file);
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

/// framehop's module of a file.
fn module(path: &Path) -> Module<Vec<u8>> {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let range = |name| file.section_by_name(name).map(|it| it.address()..it.address() + it.size());
    let bytes = |name| file.section_by_name(name).map(|it| it.uncompressed_data().unwrap().into_owned());
    let end = segment::executable(&file).iter().map(|it| it.address + it.size).max().unwrap();
    Module::new(
        path.display().to_string(),
        BASE..BASE + end,
        BASE,
        ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: None,
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: bytes(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: bytes(".eh_frame_hdr"),
            debug_frame: bytes(".debug_frame"),
            ..ExplicitModuleSectionInfo::default()
        },
    )
}

fn check_x86_64(path: &str) {
    let Ok(path) = fs::canonicalize(path) else {
        eprintln!("skipped: there is no {path} here");
        return;
    };
    let mut unwinder = UnwinderX86_64::new();
    unwinder.add_module(module(&path));
    let agreement = compare::<X86_64>(&path, OracleX86_64(unwinder, CacheX86_64::new()));
    assert_eq!(agreement.different, 0);
    assert!(agreement.equal > SAMPLES / 2, "{agreement:?}");
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

#[test]
fn nodes_executable_is_unwound_as_framehop_does() {
    check_x86_64("/usr/bin/node");
}

#[test]
fn this_rust_program_is_unwound_as_framehop_does() {
    check_x86_64(std::env::current_exe().unwrap().to_str().unwrap());
}

/// Unpacked into the target directory, with no trace in the system but the architecture that apt knows of.
fn aarch64_libc() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LEAKTRACE_AARCH64_LIBC") {
        return Some(path.into());
    }
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aarch64-libc");
    // Before and after Debian moved /lib into /usr.
    let find = || {
        ["lib", "usr/lib"]
            .map(|lib| to.join(lib).join("aarch64-linux-gnu/libc.so.6"))
            .into_iter()
            .find(|it| it.exists())
    };
    if find().is_none() {
        fs::create_dir_all(&to).ok()?;
        let fetch = "apt-get download -qq libc6:arm64 && dpkg-deb -x libc6_*_arm64.deb .";
        Command::new("sh").args(["-ec", fetch]).current_dir(&to).status().ok()?;
    }
    find()
}

#[test]
fn an_aarch64_libc_is_unwound_as_framehop_does() {
    let Some(path) = aarch64_libc() else {
        eprintln!(
            "skipped: no aarch64 libc. `dpkg --add-architecture arm64 && apt-get update` lets this test fetch one, or \
             LEAKTRACE_AARCH64_LIBC names one"
        );
        return;
    };
    let mut unwinder = UnwinderAarch64::new();
    unwinder.add_module(module(&path));
    let agreement = compare::<Aarch64>(&path, OracleAarch64(unwinder, CacheAarch64::new()));
    assert_eq!(agreement.different, 0);
    assert!(agreement.equal > SAMPLES / 2, "{agreement:?}");
}

#[test]
fn tables_of_nodes_executable_are_small_and_made_fast() {
    let Ok(data) = fs::read("/usr/bin/node") else {
        eprintln!("skipped: there is no node here");
        return;
    };
    let started = Instant::now();
    let rows = rows::read(&object::File::parse(&*data).unwrap()).unwrap();
    let pages = Pages::cut(&rows);
    let took = started.elapsed();
    println!(
        "node: {} rows, {} rules, {} pages, {} KiB in {took:?}",
        rows.rows.len(),
        pages.rules.len(),
        pages.counts.len(),
        pages.bytes() / 1024
    );
    assert_eq!(rows.malformed, 0);
    assert!(pages.bytes() < 3 << 20);
    // Without optimisation it takes ten times as long.
    assert!(cfg!(debug_assertions) || took < Duration::from_millis(500), "{took:?}");
}
