//! Tables are shared, kept, told apart and freed.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    rc::Rc,
    slice,
};

use leaktrace_common::unwind::{CHUNK_WORDS, Rule, find_mapping, rule_at};

use super::*;

struct Heap;

impl Chunks for Heap {
    type Chunk = Vec<u32>;

    fn grow(&mut self) -> io::Result<Vec<u32>> {
        Ok(vec![0; CHUNK_WORDS])
    }
}

#[derive(Clone, Default)]
struct Kernel(Rc<RefCell<HashMap<ProcessId, ProcessTable>>>, Rc<Cell<bool>>);

impl Kernel {
    fn refuses(&self, refuses: bool) {
        self.1.set(refuses);
    }
}

impl Processes for Kernel {
    fn publish(&mut self, process: ProcessId, table: ProcessTable) -> io::Result<()> {
        if self.1.get() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0.borrow_mut().insert(process, table);
        Ok(())
    }

    fn withdraw(&mut self, process: ProcessId) -> io::Result<()> {
        self.0.borrow_mut().remove(&process);
        Ok(())
    }
}

/// Every mapping is a small program that every machine has; counts how often it is opened.
#[derive(Default)]
struct Own(usize);

/// The inode of a file that is mapped as code and is none.
const NO_ELF: u64 = 405;

impl Images for Own {
    fn open(&mut self, mapping: &CodeMapping) -> io::Result<Image> {
        self.0 += 1;
        match mapping.code {
            Code::File { inode: 404, .. } => Err(io::ErrorKind::NotFound.into()),
            Code::File { inode: NO_ELF, .. } => Ok(Image::Bytes(b"a font".to_vec())),
            _ => Ok(Image::File(File::open("/bin/true")?)),
        }
    }
}

fn file(start: u64, inode: u64) -> CodeMapping {
    let code = Code::File { device: 1, inode };
    CodeMapping { start, end: start + 0x40_0000, offset: 0, code }
}

const A: ProcessId = ProcessId(1);
const B: ProcessId = ProcessId(2);
const START: Duration = Duration::ZERO;

#[test]
fn processes_share_the_tables_of_a_binary() {
    let mut tables = Tables::new(Heap, Kernel::default());
    tables.update(A, &[file(0x1000_0000, 1)], &mut Own::default(), START).unwrap();
    let (_, alone) = tables.memory();
    tables.update(B, &[file(0x2000_0000, 1)], &mut Own::default(), START).unwrap();
    let (_, both) = tables.memory();
    // A list of one mapping.
    assert_eq!(both - alone, size_of::<MappingEntry>());
}

#[test]
fn nothing_is_opened_or_published_where_nothing_changed() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let mut images = Own::default();
    for _ in 0..3 {
        tables.update(A, &[file(0x1000_0000, 1)], &mut images, START).unwrap();
    }
    assert_eq!(images.0, 1);
    assert_eq!(kernel.0.borrow()[&A].generation, 1);
}

#[test]
fn a_new_library_is_a_new_generation_and_another_one_in_its_place_a_new_epoch() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let mut update = |mappings: &[CodeMapping]| {
        tables.update(A, mappings, &mut Own::default(), START).unwrap();
        let table = kernel.0.borrow()[&A];
        (table.generation, table.epoch)
    };
    let (main, library) = (file(0x1000_0000, 1), file(0x2000_0000, 1));
    assert_eq!(update(slice::from_ref(&main)), (1, 1));
    assert_eq!(update(&[main.clone(), library.clone()]), (2, 1));
    // Unloaded, and loaded again where it was.
    assert_eq!(update(slice::from_ref(&main)), (3, 1));
    assert_eq!(update(&[main.clone(), library]), (4, 1));
    // Half of it over the old place: addresses mean something else.
    assert_eq!(update(&[main, file(0x2010_0000, 1)]), (5, 5));
}

#[test]
fn memory_of_ended_processes_is_free_after_its_rest() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    for round in 0..100u32 {
        let now = REST * 3 * round;
        let process = ProcessId(round);
        tables.update(process, &[file(0x1000_0000, 1)], &mut Own::default(), now).unwrap();
        tables.remove(process, now).unwrap();
    }
    let (size, _) = tables.memory();
    tables.settle(REST * 400);
    tables.settle(REST * 402);
    assert_eq!(tables.memory(), (size, 0));
    assert!(kernel.0.borrow().is_empty());
}

#[test]
fn a_binary_that_cannot_be_read_is_a_gap_of_its_own_and_its_frames_are_guesses() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let starts = [0x1000_0000, 0x2000_0000, 0x3000_0000];
    let mappings = [file(starts[0], 404), file(starts[1], 1), file(starts[2], NO_ELF)];
    let gaps = tables.update(A, &mappings, &mut Own::default(), START).unwrap();
    let unread: Vec<u64> = gaps.unreadable.iter().map(|(mapping, _)| mapping.start).collect();
    assert_eq!(unread, [starts[0], starts[2]]);
    let table = kernel.0.borrow()[&A];
    let is_guess = |start| {
        let found = rule_at(tables.arena(), &table, &mut MappingEntry::default(), start + 0x10);
        found == Ok(Rule::GUESS)
    };
    assert_eq!(starts.map(is_guess), [true, false, true]);
}

#[test]
fn code_of_a_jit_is_no_guess() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let mapping = CodeMapping { code: Code::Anonymous, ..file(0x1000_0000, 0) };
    tables.update(A, slice::from_ref(&mapping), &mut Own::default(), START).unwrap();
    let table = kernel.0.borrow()[&A];
    let rule = rule_at(tables.arena(), &table, &mut MappingEntry::default(), mapping.start);
    assert_eq!(rule, Ok(Rule::CHAIN));
}

#[test]
fn an_update_that_failed_does_not_forget_what_addresses_meant() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let mut update = |mappings: &[CodeMapping]| tables.update(A, mappings, &mut Own::default(), START);
    let (main, library) = (file(0x1000_0000, 1), file(0x2000_0000, 1));
    update(&[main.clone(), library]).unwrap();
    kernel.refuses(true);
    update(slice::from_ref(&main)).unwrap_err();
    kernel.refuses(false);
    update(slice::from_ref(&main)).unwrap();
    let before = kernel.0.borrow()[&A].epoch;
    // Where the library was there is something else.
    update(&[main, file(0x2010_0000, 1)]).unwrap();
    assert_ne!(kernel.0.borrow()[&A].epoch, before);
}

#[test]
fn of_too_many_mappings_those_of_a_jit_go_first_and_walks_still_know_of_it() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let mapping = |index: u64, code| {
        let start = 0x1000_0000 + index * 0x40_0000;
        CodeMapping { start, end: start + 0x1000, offset: 0, code }
    };
    let count = MAX_MAPPINGS as u64 + 10;
    let mut mappings: Vec<CodeMapping> =
        (0..count).map(|index| mapping(index, Code::File { device: 1, inode: 1 })).collect();
    mappings[5..10].iter_mut().for_each(|mapping| mapping.code = Code::Anonymous);
    let gaps = tables.update(A, &mappings, &mut Own::default(), START).unwrap();
    assert_eq!(gaps.left_out, 10);
    let table = kernel.0.borrow()[&A];
    assert_eq!(table.count as usize, MAX_MAPPINGS);
    let is_known = |index: usize| {
        let mut found = MappingEntry::default();
        find_mapping(tables.arena(), &table, &mut found, mappings[index].start)
    };
    assert!([0, 4, 10, MAX_MAPPINGS + 4].into_iter().all(is_known));
    assert!(!(5..10).chain(MAX_MAPPINGS + 5..MAX_MAPPINGS + 10).any(is_known));
    assert_ne!(table.flags & ProcessTable::HAS_JIT, 0);
}
