//! A binary as a process has it mapped, and what is made of it.

use std::{fs::File, io, os::unix::fs::FileExt};

use memchr::memmem;
use object::{Object, ObjectSection, ReadCache, ReadRef};

use super::{
    mapping::CodeMapping,
    padding::Source,
    page::Pages,
    rows::{self, RowsError},
    segment::{self, Segment},
};
use crate::process::FileId;

/// A binary's bytes. Files are read in parts, not mapped: they may be cut short while they are read.
pub enum Image {
    File(File),
    Bytes(Vec<u8>),
}

/// What is known of a binary.
pub struct Binary {
    pub segments: Vec<Segment>,
    /// What its linker called it: equal in all copies of it.
    pub build_id: Option<Vec<u8>>,
    /// It holds V8, whose built-in functions have frame pointers and no tables.
    pub has_v8: bool,
}

/// Where images come from.
pub trait Images {
    /// Opens what is mapped.
    ///
    /// # Errors
    /// If it is not there any more or must not be read.
    fn open(&mut self, mapping: &CodeMapping) -> io::Result<Image>;
}

/// A vDSO has two pages; more than this is none.
const MAX_VDSO: u64 = 1 << 20;

/// The vDSO that a running process has mapped there.
///
/// # Errors
/// The process is gone, or its memory must not be read.
pub fn vdso(pid: u32, mapping: &CodeMapping) -> io::Result<Image> {
    let CodeMapping { start, end, .. } = *mapping;
    let mut bytes = vec![0; (end - start).min(MAX_VDSO) as usize];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, start)?;
    Ok(Image::Bytes(bytes))
}

impl Image {
    /// None for what is no file.
    pub fn id(&self) -> Option<FileId> {
        let Self::File(file) = self else { return None };
        FileId::of(file).ok()
    }

    /// What the binary is, and its tables unless the build id is one that `is_known`.
    ///
    /// # Errors
    /// If it is no ELF file for a known machine. No tables in it is a value.
    pub fn read(self, is_known: impl Fn(&[u8]) -> bool) -> Result<(Binary, Option<Pages>), RowsError> {
        match self {
            Self::File(file) => read(&ReadCache::new(&file), &file, is_known),
            Self::Bytes(bytes) => read(&*bytes, &bytes, is_known),
        }
    }
}

fn read<'d, R: ReadRef<'d>>(
    data: R,
    source: &dyn Source,
    is_known: impl Fn(&[u8]) -> bool,
) -> Result<(Binary, Option<Pages>), RowsError> {
    let file = object::File::parse(data)?;
    let build_id = file.build_id()?.map(<[u8]>::to_vec);
    let segments = segment::executable(&file);
    let is_known = build_id.as_deref().is_some_and(is_known);
    let pages = if is_known {
        None
    } else {
        match rows::read(&file, source) {
            Ok(rows) => Some(Pages::cut(&rows)?),
            Err(RowsError::None) => None,
            Err(error) => return Err(error),
        }
    };
    let has_v8 = !is_known && has_v8(&file, &segments);
    Ok((Binary { segments, build_id, has_v8 }, pages))
}

/// V8 is at least this large: smaller binaries are not searched.
const SMALLEST_V8: u64 = 8 << 20;

/// Looks for the names of V8: in the dynamic symbols, which addons need, or else among all.
fn has_v8<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, segments: &[Segment]) -> bool {
    if segments.iter().all(|segment| segment.size < SMALLEST_V8) {
        return false;
    }
    [(".dynstr", &b"_ZN2v87Isolate"[..]), (".strtab", b"Builtins_JSEntry")].into_iter().any(
        |(section, name)| {
            file.section_by_name(section)
                .and_then(|section| section.data().ok())
                .is_some_and(|names| memmem::find(names, name).is_some())
        },
    )
}
