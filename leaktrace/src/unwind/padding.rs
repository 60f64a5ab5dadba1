//! What linkers and compilers put between functions so that each starts at a multiple of 16 or so. Nothing runs there,
//! and "nothing known" between any two functions would be every seventh row of node's.

use std::{cell::RefCell, fs::File, os::unix::fs::FileExt};

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::ReadRef;

use super::{
    rule::Machine,
    segment::{self, Segment},
};

/// Padding is shorter than what functions are aligned to.
const MOST: u64 = 64;
/// aarch64's `nop`.
const NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();
/// Bytes that are read at once. Of code there may be hundreds of megabytes, and little of it is asked for.
const WINDOW: usize = 64 << 10;

/// A binary's bytes.
pub trait Source {
    /// Reads from this place in the file on. How many bytes were there.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize;
}

impl Source for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        FileExt::read_at(self, into, offset).unwrap_or(0)
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let there = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        count
    }
}

/// The bytes of a binary's code.
pub struct Code<'d> {
    machine: Machine,
    segments: Vec<Segment>,
    source: &'d dyn Source,
    window: RefCell<Window>,
}

/// A part of the file.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// False where it is another part.
    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let first = offset.checked_sub(self.start).and_then(|first| usize::try_from(first).ok());
        let there = first.and_then(|first| self.bytes.get(first..)?.get(..into.len()));
        there.map(|bytes| into.copy_from_slice(bytes)).is_some()
    }
}

impl<'d> Code<'d> {
    /// `source` has the bytes of `file`.
    #[must_use]
    pub fn of<'f, R: ReadRef<'f>>(
        file: &object::File<'f, R>,
        source: &'d dyn Source,
        machine: Machine,
    ) -> Self {
        Self { machine, segments: segment::executable(file), source, window: RefCell::default() }
    }

    /// Whether there is nothing but padding from one address up to another. What cannot be read is none. The file is read
    /// once if this is asked in the order of addresses.
    #[must_use]
    pub fn is_padding(&self, from: u64, to: u64) -> bool {
        if to - from >= MOST {
            return false;
        }
        let holds = |segment: &&Segment| segment.contains(from) && to <= segment.end();
        let Some(segment) = self.segments.iter().find(holds) else { return false };
        let mut bytes = [0; MOST as usize];
        let bytes = &mut bytes[..(to - from) as usize];
        let offset = segment.offset.saturating_add(from - segment.address);
        self.read(offset, bytes) && does_nothing(self.machine, bytes)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        let window = &mut *self.window.borrow_mut();
        if window.copy(offset, into) {
            return true;
        }
        window.start = offset;
        window.bytes.resize(WINDOW, 0);
        let count = self.source.read_at(offset, &mut window.bytes);
        window.bytes.truncate(count);
        window.copy(offset, into)
    }
}

/// Instructions that do nothing or trap, or zeros.
fn does_nothing(machine: Machine, bytes: &[u8]) -> bool {
    if bytes.iter().all(|byte| *byte == 0) {
        return true;
    }
    match machine {
        Machine::X86_64 => Decoder::new(64, bytes, DecoderOptions::NONE)
            .iter()
            .all(|instruction| matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)),
        Machine::Aarch64 => bytes.chunks(4).all(|word| word == NOP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of code that is at 0x1000, behind as much of something else.
    fn is_padding(bytes: &[u8], from: u64, to: u64) -> bool {
        let file = [&[0xff; 0x1000], bytes].concat();
        let segments = vec![Segment { address: 0x1000, offset: 0x1000, size: bytes.len() as u64 }];
        let code = Code { machine: Machine::X86_64, segments, source: &file, window: RefCell::default() };
        code.is_padding(from, to)
    }

    #[test]
    fn what_compilers_put_between_functions_is_padding() {
        for bytes in [
            // gcc's longest, clang's, lld's, and what is left of a page.
            &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90][..],
            &[0x0f, 0x1f, 0x44, 0, 0, 0x90],
            &[0xcc; 15],
            &[0; 9],
        ] {
            assert!(is_padding(bytes, 0x1000, 0x1000 + bytes.len() as u64), "{bytes:x?}");
        }
    }

    #[test]
    fn a_function_without_call_frame_information_is_not() {
        // push rbx; call; pop rbx; ret
        assert!(!is_padding(&[0x53, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3], 0x1000, 0x1008));
        // A call cut off by the next function.
        assert!(!is_padding(&[0x90, 0xe8, 0, 0], 0x1000, 0x1004));
    }

    #[test]
    fn nor_is_what_is_long_or_not_in_the_file() {
        let bytes = [0x90; 80];
        assert!(is_padding(&bytes, 0x1000, 0x103f));
        assert!(!is_padding(&bytes, 0x1000, 0x1040));
        assert!(!is_padding(&bytes, 0x0fff, 0x1004));
        assert!(!is_padding(&bytes, 0x1048, 0x1058));
    }

    #[test]
    fn wherever_it_lies_and_in_whatever_order_it_is_asked_for_code_is_read_right() {
        let mut bytes = vec![0x53; 3 * WINDOW];
        let gaps = [5, WINDOW - 4, WINDOW + 100, 3 * WINDOW - 8];
        gaps.iter().for_each(|at| bytes[*at..at + 8].fill(0x90));
        let path = std::env::temp_dir().join(format!("leaktrace-padding-{}", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        for source in [&file as &dyn Source, &bytes] {
            // What a file says of itself may be more than there is.
            let segments = vec![Segment { address: 0x1000, offset: 0, size: u64::MAX }];
            let code = Code { machine: Machine::X86_64, segments, source, window: RefCell::default() };
            let is_padding = |at: usize, end| code.is_padding(0x1000 + at as u64, 0x1000 + end as u64);
            for at in gaps.into_iter().chain(gaps.into_iter().rev()) {
                assert!(is_padding(at, at + 8) && !is_padding(at - 1, at + 7), "{at}");
            }
            assert!(!is_padding(3 * WINDOW - 8, 3 * WINDOW + 1));
        }
    }

    #[test]
    fn on_aarch64_only_its_nop_is() {
        assert!(does_nothing(Machine::Aarch64, &[NOP, NOP].concat()));
        assert!(!does_nothing(Machine::Aarch64, &[NOP, [0xc0, 0x03, 0x5f, 0xd6]].concat()));
    }
}
