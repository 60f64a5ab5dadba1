//! On files made by the machine's C compiler; where there is none the tests say so and pass.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object, ObjectSegment, ObjectSymbol};

use super::*;
use crate::{
    skip,
    symbolize::{Names, SymbolThread, Symbolizer},
};

const SOURCE: &str = "
static inline __attribute__((always_inline)) int inner(volatile int *p) {
    return *p + 1;
}
int outer(volatile int *p) {
    return inner(p) * 3;
}
int main(void) { int x = 0; return outer(&x); }
";

/// A fresh folder below the target's; removed by the drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leaktrace-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn run(&self, command: &str, arguments: &[&str]) -> bool {
        let status = Command::new(command).args(arguments).current_dir(&self.0).status();
        status.is_ok_and(|status| status.success())
    }

    /// A program with debug information; none where there is no compiler.
    fn compile(&self) -> Option<PathBuf> {
        std::fs::write(self.0.join("inline.c"), SOURCE).unwrap();
        if self.run("cc", &["-g", "-O1", "-Wl,--build-id=sha1", "-o", "program", "inline.c"]) {
            return Some(self.0.join("program"));
        }
        skipped("no C compiler");
        None
    }
}

fn skipped(why: &str) {
    skip::skip("tools", why);
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The file offset of the first instruction of `symbol`.
fn offset_of(program: &Path, symbol: &str) -> FileOffset {
    let data = std::fs::read(program).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let address = file.symbols().find(|found| found.name() == Ok(symbol)).unwrap().address();
    let segment = file
        .segments()
        .find(|segment| (segment.address()..segment.address() + segment.size()).contains(&address))
        .unwrap();
    FileOffset(segment.file_range().0 + address - segment.address())
}

fn name_of(file: File, offset: FileOffset) -> Named {
    name_with(file, None, offset)
}

fn name_with(file: File, debug: Option<File>, offset: FileOffset) -> Named {
    let mut symbols = SymbolThread::start().unwrap();
    symbols.add_binary(BinaryId(1), file, debug).unwrap();
    let place = Place::Binary { binary: BinaryId(1), offset };
    let mut names = Names::default();
    symbols.resolve(&[place, place], &mut names).unwrap();
    assert_eq!(names.asked(), 1);
    names.get(place).clone()
}

fn functions(named: &Named) -> Vec<(&str, Option<u32>, bool)> {
    let Named::Known(names) = named else { panic!("{named:?}") };
    names.iter().map(|name| (name.function.as_str(), name.line, name.inlined)).collect()
}

#[test]
fn an_inlined_call_comes_before_the_function_that_holds_it_each_with_its_line() {
    let folder = Folder::new("inline");
    let Some(program) = folder.compile() else { return };
    let named = name_of(File::open(&program).unwrap(), offset_of(&program, "outer"));
    assert_eq!(functions(&named), [("inner", Some(3), true), ("outer", Some(6), false)]);
    let Named::Known(names) = &named else { unreachable!() };
    assert!(names.iter().all(|name| name.file.as_ref().is_some_and(|file| file.ends_with("inline.c"))));
}

#[test]
fn names_of_cpp_and_rust_are_demangled() {
    let folder = Folder::new("mangled");
    let source = "namespace store { struct Cache { int put(int); }; int Cache::put(int n) { return n; } }
        extern \"C\" int _RNvCs1234_7mycrate3foo(int n) { return n; }
        int main() { return store::Cache().put(1); }";
    std::fs::write(folder.0.join("names.cpp"), source).unwrap();
    if !folder.run("c++", &["-O0", "-o", "program", "names.cpp"]) {
        skipped("no C++ compiler");
        return;
    }
    let program = folder.0.join("program");
    for (mangled, plain) in
        [("_ZN5store5Cache3putEi", "store::Cache::put(int)"), ("_RNvCs1234_7mycrate3foo", "mycrate::foo")]
    {
        let named = name_of(File::open(&program).unwrap(), offset_of(&program, mangled));
        assert_eq!(functions(&named), [(plain, None, false)]);
    }
}

#[test]
fn names_outlive_the_file() {
    let folder = Folder::new("deleted");
    let Some(program) = folder.compile() else { return };
    let (offset, file) = (offset_of(&program, "main"), File::open(&program).unwrap());
    std::fs::remove_file(&program).unwrap();
    assert_eq!(functions(&name_of(file, offset)).last().map(|name| name.0), Some("main"));
}

#[test]
fn a_stripped_file_is_named_from_the_debug_file_beside_it() {
    let folder = Folder::new("stripped");
    let Some(program) = folder.compile() else { return };
    let offset = offset_of(&program, "outer");
    let is_stripped = folder.run("objcopy", &["--only-keep-debug", "program", "program.debug"])
        && folder.run("objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
    if !is_stripped {
        skipped("no objcopy");
        return;
    }
    let named = name_of(File::open(&program).unwrap(), offset);
    assert_eq!(functions(&named), [("inner", Some(3), true), ("outer", Some(6), false)]);
    std::fs::remove_file(folder.0.join("program.debug")).unwrap();
    let named = name_of(File::open(&program).unwrap(), offset);
    assert!(matches!(named, Named::Unknown(NoName::NoSymbols | NoName::NotCovered)), "{named:?}");
}

#[test]
fn a_debug_file_that_comes_with_a_stripped_file_names_it_wherever_it_was() {
    let folder = Folder::new("given");
    let Some(program) = folder.compile() else { return };
    let offsets = [offset_of(&program, "outer"), FileOffset(0)];
    if !(folder.run("objcopy", &["--only-keep-debug", "program", "elsewhere"])
        && folder.run("objcopy", &["--strip-all", "program"]))
    {
        skipped("no objcopy");
        return;
    }
    let open = |name| File::open(folder.0.join(name)).unwrap();
    let named = name_with(open("program"), Some(open("elsewhere")), offsets[0]);
    assert_eq!(functions(&named), [("inner", Some(3), true), ("outer", Some(6), false)]);
    // No code: neither file has a name for it.
    let named = name_with(open("program"), Some(open("elsewhere")), offsets[1]);
    assert!(matches!(named, Named::Unknown(_)), "{named:?}");
    // A broken one takes nothing away.
    let Some(program) = folder.compile() else { return };
    std::fs::write(folder.0.join("elsewhere"), "no debug file").unwrap();
    let named = name_with(open("program"), Some(open("elsewhere")), offset_of(&program, "outer"));
    assert_eq!(functions(&named).last().map(|name| name.0), Some("outer"));
}

/// As Fedora makes them: the functions' symbols, packed, in a section of the stripped file.
#[test]
fn a_stripped_file_is_named_from_its_mini_debug_info() {
    let folder = Folder::new("mini");
    let Some(program) = folder.compile() else { return };
    let offset = offset_of(&program, "outer");
    let made = folder.run("objcopy", &["--strip-debug", "--remove-section=.comment", "program", "mini"])
        && folder.run("xz", &["-z", "mini"])
        && folder.run("objcopy", &["--strip-all", "program"])
        && folder.run("objcopy", &["--add-section=.gnu_debugdata=mini.xz", "program"]);
    if !made {
        skipped("no objcopy or no xz");
        return;
    }
    let data = std::fs::read(&program).unwrap();
    assert!(object::File::parse(&*data).unwrap().symbols().next().is_none(), "it is not stripped");
    assert_eq!(functions(&name_of(File::open(&program).unwrap(), offset)), [("outer", None, false)]);
}

#[test]
fn a_place_outside_the_file_and_a_file_that_is_no_elf_are_unknown_with_a_reason() {
    let exe = File::open("/proc/self/exe").unwrap();
    assert_eq!(name_of(exe, FileOffset(u64::MAX / 2)), Named::Unknown(NoName::NotInFile));
    let text = File::open("/proc/self/maps").unwrap();
    assert_eq!(name_of(text, FileOffset(0)), Named::Unknown(NoName::Broken));
}

#[test]
fn the_vdso_is_named() {
    let Some(start) = own_vdso() else { return };
    let mut blaze = Blaze::new();
    // Its only symbols are functions; one of them lies in the first pages.
    let places: Vec<Place> =
        (0..0x2000).step_by(16).map(|offset| Place::Vdso { offset: FileOffset(offset) }).collect();
    let named = blaze.name(&places);
    let is_clock =
        |named: &Named| functions_or_none(named).is_some_and(|name| name.contains("clock_gettime"));
    assert!(named.iter().any(|(_, named)| is_clock(named)), "vDSO at {start:#x}");
}

fn functions_or_none(named: &Named) -> Option<&str> {
    match named {
        Named::Known(names) => names.first().map(|name| name.function.as_str()),
        Named::Unknown(_) => None,
    }
}

#[test]
fn generated_code_is_asked_for_again_until_its_runtime_wrote_it_down() {
    let folder = Folder::new("perf-map");
    let path = folder.0.join("perf-1.map");
    std::fs::write(&path, "").unwrap();
    let process = leaktrace_common::process::ProcessId(1);
    let place = Place::Jit { process, address: 0x1005 };
    let mut symbols = SymbolThread::start().unwrap();
    symbols.add_perf_map(process, File::open(&path).unwrap()).unwrap();
    let mut names = Names::default();
    symbols.resolve(&[place], &mut names).unwrap();
    assert_eq!(names.get(place), &Named::Unknown(NoName::NoPerfMap));
    std::fs::write(&path, "1000 10 JS:*handle\n").unwrap();
    symbols.resolve(&[place], &mut names).unwrap();
    assert_eq!(functions(names.get(place)), [("JS:*handle", None, false)]);
    assert_eq!((names.asked(), names.unknown()), (1, 0));
}

#[test]
fn more_files_than_are_kept_in_memory_are_all_named() {
    let folder = Folder::new("many-files");
    let Some(program) = folder.compile() else { return };
    let offset = offset_of(&program, "outer");
    let mut blaze = Blaze::new();
    let ids: Vec<BinaryId> = (0..MOST_FILES as u32 + 8).map(BinaryId).collect();
    for id in &ids {
        blaze.add_binary(*id, File::open(&program).unwrap(), None);
    }
    let places: Vec<Place> = ids.iter().map(|binary| Place::Binary { binary: *binary, offset }).collect();
    // The second time some were forgotten.
    for _ in 0..2 {
        let named = blaze.name(&places);
        assert_eq!(named.len(), ids.len());
        let is_right =
            |named: &Named| matches!(named, Named::Known(names) if names.last().unwrap().function == "outer");
        assert!(named.iter().all(|(_, named)| is_right(named)), "{named:?}");
        assert!(blaze.read.len() <= MOST_FILES);
    }
}

#[test]
fn large_files_are_not_kept_in_memory_together() {
    let folder = Folder::new("large-files");
    let Some(program) = folder.compile() else { return };
    let offset = offset_of(&program, "outer");
    // Behind the sections are zeros that take no room on the disk.
    File::options().write(true).open(&program).unwrap().set_len(MOST_BYTES / 2 - 1).unwrap();
    let mut blaze = Blaze::new();
    for id in (0..5).map(BinaryId) {
        blaze.add_binary(id, File::open(&program).unwrap(), None);
        let named = blaze.name(&[Place::Binary { binary: id, offset }]);
        assert!(matches!(named[..], [(_, Named::Known(_))]), "{named:?}");
        assert!(blaze.read.len() <= 2 && blaze.read.contains_key(&id));
    }
    // One that is too large by itself is read all the same, alone.
    File::options().write(true).open(&program).unwrap().set_len(2 * MOST_BYTES).unwrap();
    let id = BinaryId(9);
    blaze.add_binary(id, File::open(&program).unwrap(), None);
    let named = blaze.name(&[Place::Binary { binary: id, offset }]);
    assert!(matches!(named[..], [(_, Named::Known(_))]), "{named:?}");
    assert_eq!(blaze.read.keys().collect::<Vec<_>>(), [&id]);
}

#[test]
fn a_file_with_the_number_of_one_that_was_closed_has_its_own_names() {
    let folder = Folder::new("same-number");
    let Some(program) = folder.compile() else { return };
    let offset = offset_of(&program, "outer");
    let other = folder.0.join("other");
    std::fs::write(folder.0.join("inline.c"), SOURCE.replace("outer", "later")).unwrap();
    assert!(folder.run("cc", &["-g", "-O1", "-o", "other", "inline.c"]));
    let name = |blaze: &mut Blaze, id| {
        let named = blaze.name(&[Place::Binary { binary: BinaryId(id), offset }]);
        let [(_, Named::Known(names))] = &named[..] else { panic!("{named:?}") };
        names.last().unwrap().function.clone()
    };
    let mut blaze = Blaze::new();
    // Another test's thread may take the number first.
    for id in (0..1000).step_by(2) {
        let file = File::open(&program).unwrap();
        let number = file.as_raw_fd();
        blaze.add_binary(BinaryId(id), file, None);
        assert_eq!(name(&mut blaze, id), "outer");
        blaze.forget_binaries(&HashSet::from([BinaryId(id)]));
        let file = File::open(&other).unwrap();
        let is_same = file.as_raw_fd() == number;
        blaze.add_binary(BinaryId(id + 1), file, None);
        assert_eq!(name(&mut blaze, id + 1), "later");
        if is_same {
            return;
        }
    }
    panic!("never the same number");
}
