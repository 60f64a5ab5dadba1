//! A large file's own description of itself, without what it describes.
//!
//! Whether a library of 200 MB has an allocator is told by its symbols. Code and debug information are read into memory only
//! where something in them is to be probed.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use memmap2::MmapMut;
use object::{
    Endianness, ReadCache,
    elf::{FileHeader64, SHT_NOBITS, SHT_PROGBITS},
    read::elf::{FileHeader as _, SectionHeader as _},
};

/// Names of loaders, links to debug files and the like are sections of the same type as code, but short.
const SHORT: u64 = 4096;

/// Headers of files are within this.
const HEADERS: usize = 4096;

/// No program has more to say of itself. One that does, or in which sections lie over each other, means harm.
const MOST: u64 = 1 << 30;

/// An ELF file as long as it is, with its headers, tables and notes, and zeros, which take no memory, in place of code and data;
/// none where it does not say which is which.
///
/// # Errors
/// It cannot be read.
pub fn tables(file: &File) -> io::Result<Option<MmapMut>> {
    let cache = ReadCache::new(file);
    let Some(sections) = sections(&cache) else { return Ok(None) };
    let size = file.metadata()?.len();
    let all = sections.iter().try_fold(0u64, |sum, (_, length)| sum.checked_add(*length));
    if all.is_none_or(|all| all > size.min(MOST)) {
        return Ok(None);
    }
    let mut bytes = MmapMut::map_anon(usize::try_from(size).map_err(io::Error::other)?)?;
    let headers = HEADERS.min(bytes.len());
    file.read_exact_at(&mut bytes[..headers], 0)?;
    for (start, length) in sections {
        let end = start.checked_add(length).filter(|end| *end <= size);
        let Some(end) = end else { return Ok(None) };
        file.read_exact_at(&mut bytes[start as usize..end as usize], start)?;
    }
    Ok(Some(bytes))
}

/// Offset and length of each section that describes, and of the table of sections itself.
fn sections(data: &ReadCache<&File>) -> Option<Vec<(u64, u64)>> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.section_headers(endian, data).ok()?;
    if headers.is_empty() {
        return None;
    }
    let describes = |kind| kind != SHT_PROGBITS && kind != SHT_NOBITS;
    let sections = headers.iter().filter_map(|section| {
        let (start, length) = section.file_range(endian)?;
        (describes(section.sh_type(endian)) || length <= SHORT).then_some((start, length))
    });
    Some(sections.chain([(header.e_shoff(endian), size_of_val(headers) as u64)]).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::Binary, *};

    #[test]
    fn a_file_without_its_code_says_the_same_of_itself() {
        let path = std::env::current_exe().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let tables = tables(&File::open(&path).unwrap()).unwrap().unwrap();
        let (whole, described) = (Binary::parse(&whole).unwrap(), Binary::parse(&tables).unwrap());
        assert!(!whole.functions().is_empty());
        assert_eq!(whole.functions(), described.functions());
        assert_eq!(
            (whole.build_id, whole.debug_link, whole.interpreter, &whole.needed),
            (described.build_id, described.debug_link, described.interpreter, &described.needed)
        );
        let code = whole.functions().iter().filter(|function| function.size > SHORT);
        let first = code.map(|function| function.address).next().unwrap();
        let start = |binary: &Binary<'_>| binary.code(first).unwrap()[..16].to_vec();
        assert_ne!(start(&whole), start(&described), "code is not read");
    }

    #[test]
    fn sections_that_lie_over_each_other_are_not_read_again_and_again() {
        let path = std::env::temp_dir().join(format!("leaktrace-overlaid-{}", std::process::id()));
        let mut whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let word = |whole: &[u8], at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap());
        let (headers, size) = (word(&whole, 0x28) as usize, whole.len() as u64);
        // Each a symbol table that is all of the file: type, offset and size of a 64-byte section header.
        for at in (headers..whole.len() - 63).step_by(64).skip(1) {
            whole[at + 4..at + 8].copy_from_slice(&2u32.to_le_bytes());
            whole[at + 24..at + 32].copy_from_slice(&0u64.to_le_bytes());
            whole[at + 32..at + 40].copy_from_slice(&size.to_le_bytes());
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(tables(&File::open(&path).unwrap()).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_no_program_has_no_tables() {
        let path = std::env::temp_dir().join(format!("leaktrace-tables-{}", std::process::id()));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(tables(&File::open(&path).unwrap()).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
