//! Files that no compiler made: what they say must neither end the agent nor fill its memory.

use super::*;
use crate::unwind::image::Image;

/// An ELF file of one segment with code and an `.eh_frame`.
struct Elf {
    /// Address and size of the segment.
    segment: (u64, u64),
    eh_frame: Vec<u8>,
    eh_frame_flags: u64,
}

const CODE: u64 = 0x1000;

impl Elf {
    fn new(segment: (u64, u64), eh_frame: Vec<u8>) -> Self {
        Self { segment, eh_frame, eh_frame_flags: 2 }
    }

    fn bytes(&self) -> Vec<u8> {
        const HEADERS: u64 = 64 + 56;
        let names = b"\0.eh_frame\0.shstrtab\0";
        let names_at = HEADERS + self.eh_frame.len() as u64;
        let sections_at = names_at + names.len() as u64;
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half =
            |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|it| out.extend(it.to_le_bytes()));
        let word =
            |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|it| out.extend(it.to_le_bytes()));
        let long =
            |out: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|it| out.extend(it.to_le_bytes()));
        half(&mut out, &[3, 62]);
        word(&mut out, &[1]);
        long(&mut out, &[0, 64, sections_at]);
        word(&mut out, &[0]);
        half(&mut out, &[64, 56, 1, 64, 3, 2]);
        // The segment: readable and executable.
        let (address, size) = self.segment;
        word(&mut out, &[1, 5]);
        long(&mut out, &[0, address, address, size, size, 0x1000]);
        out.extend(&self.eh_frame);
        out.extend(names);
        out.extend([0; 64]);
        let eh_frame = [self.eh_frame_flags, 0x10_0000, HEADERS, self.eh_frame.len() as u64];
        for (name, kind, place) in [(1, 1, eh_frame), (11, 3, [0, 0, names_at, names.len() as u64])] {
            word(&mut out, &[name, kind]);
            long(&mut out, &place);
            word(&mut out, &[0, 0]);
            long(&mut out, &[1, 0]);
        }
        out
    }

    fn rows(&self) -> Result<Vec<(u64, u16)>, RowsError> {
        let bytes = self.bytes();
        let rows = read(&object::File::parse(&*bytes)?, &bytes)?;
        Ok(rows.rows.iter().map(|row| (row.address, row.rule)).collect())
    }

    fn pages(self) -> Result<usize, RowsError> {
        let (_, pages) = Image::Bytes(self.bytes()).read(|_| false)?;
        Ok(pages.map_or(0, |pages| pages.counts.len()))
    }
}

/// An entry with its length in front.
fn entry(out: &mut Vec<u8>, id: u32, body: &[u8]) {
    let padded = body.len().next_multiple_of(8) + 4;
    out.extend((padded as u32 + 4).to_le_bytes());
    out.extend(id.to_le_bytes());
    out.extend(body);
    out.resize(out.len() + padded - body.len(), 0);
}

/// A function whose CFA is 8 and, from 4 bytes in, 16 above the stack pointer.
fn eh_frame(augmentation: &[u8], common: &[u8], start: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    // Version, augmentation, alignment of code and data, the return address's column; pointers are absolute.
    let mut body = [b"\x01", augmentation, b"\0\x01\x78\x10\x01\x00\x0c\x07\x08\x90\x01"].concat();
    body.extend(common);
    entry(&mut out, 0, &body);
    let back = out.len() as u32 + 4;
    entry(&mut out, back, &[&start.to_le_bytes()[..], &length.to_le_bytes(), b"\0\x44\x0e\x10"].concat());
    out.extend([0; 4]);
    out
}

#[test]
fn a_function_is_read_as_it_stands() {
    let elf = Elf::new((CODE, 0x100), eh_frame(b"zR", b"", CODE + 0x10, 0x20));
    assert_eq!(elf.rows().unwrap(), [(CODE + 0x10, 1), (CODE + 0x14, 2), (CODE + 0x30, 0)]);
}

#[test]
fn a_function_that_claims_all_addresses_ends_where_the_code_does() {
    for length in [0x1000, 1 << 47, u64::MAX - CODE, u64::MAX] {
        let elf = Elf::new((CODE, 0x100), eh_frame(b"zR", b"", CODE, length));
        let rows = elf.rows().unwrap();
        assert_eq!([rows.first(), rows.last()], [Some(&(CODE, 1)), Some(&(CODE + 0x100, 0))], "{length:#x}");
        assert_eq!(elf.pages().unwrap(), 1);
    }
}

#[test]
fn code_that_claims_all_addresses_is_refused() {
    for segment in [(0, u64::MAX), (CODE, u64::MAX), (u64::MAX - 0x100, u64::MAX)] {
        let elf = Elf::new(segment, eh_frame(b"zR", b"", segment.0, u64::MAX));
        let pages = elf.pages();
        assert!(matches!(pages, Err(RowsError::TooWide(_)) | Ok(1)), "{segment:x?}: {pages:?}");
    }
}

#[test]
fn a_signal_trampoline_at_address_0_has_no_byte_before_it() {
    let elf = Elf::new((0, 0x100), eh_frame(b"zRS", b"", 0, 0x10));
    assert_eq!(elf.rows().unwrap(), [(0, 1), (0x10, 0)]);
    let elf = Elf::new((CODE, 0x100), eh_frame(b"zRS", b"", CODE + 0x10, 0x10));
    assert_eq!(elf.rows().unwrap(), [(CODE + 0xf, 1), (CODE + 0x20, 0)]);
}

#[test]
fn a_section_that_unpacks_to_gigabytes_is_refused() {
    // ELFCOMPRESS_ZLIB, and the size that it is said to have.
    let header =
        [&1u32.to_le_bytes()[..], &[0; 4], &(1u64 << 40).to_le_bytes(), &8u64.to_le_bytes()].concat();
    let elf = Elf { eh_frame_flags: 2 | 0x800, ..Elf::new((CODE, 0x100), header) };
    assert!(matches!(elf.rows(), Err(RowsError::TooLarge { bytes, .. }) if bytes == 1 << 40));
}

#[test]
fn instructions_that_would_be_followed_for_every_function_are_few() {
    let elf = Elf::new((CODE, 0x100), eh_frame(b"zR", &[0; MAX_COMMON], CODE, 0x10));
    assert!(matches!(elf.rows(), Err(RowsError::None)));
}
