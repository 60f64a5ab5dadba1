//! Tables are shared, kept, told apart and freed.

use std::{cell::RefCell, fs::File, rc::Rc, slice};

use leaktrace_common::unwind::CHUNK_WORDS;

use super::*;

struct Heap;

impl Chunks for Heap {
    type Chunk = Vec<u32>;

    fn grow(&mut self) -> io::Result<Vec<u32>> {
        Ok(vec![0; CHUNK_WORDS])
    }
}

#[derive(Clone, Default)]
struct Kernel(Rc<RefCell<HashMap<ProcessId, ProcessTable>>>);

impl Processes for Kernel {
    fn publish(&mut self, process: ProcessId, table: ProcessTable) -> io::Result<()> {
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

impl Images for Own {
    fn open(&mut self, mapping: &CodeMapping) -> io::Result<Image> {
        self.0 += 1;
        match mapping.code {
            Code::File { inode: 404, .. } => Err(io::ErrorKind::NotFound.into()),
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
fn a_binary_that_cannot_be_opened_is_unwound_by_frame_pointers_and_said() {
    let kernel = Kernel::default();
    let mut tables = Tables::new(Heap, kernel.clone());
    let gaps = tables.update(A, &[file(0x1000_0000, 404)], &mut Own::default(), START).unwrap();
    assert_eq!(gaps.unreadable.len(), 1);
    assert_eq!(kernel.0.borrow()[&A].count, 1);
}
