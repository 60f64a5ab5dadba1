//! Strings of every sort, made by hand.

use std::{cell::RefCell, collections::BTreeMap};

use super::{
    super::{
        NotRead,
        layout::Layout,
        object::{Heap, Tagged},
        string,
    },
    recorded,
};
use crate::process::ReadUser;

const SEQUENTIAL: u16 = 0x20;
const CONCATENATED: u16 = 0x21;
const EXTERNAL: u16 = 0x22;
const SLICED: u16 = 0x23;
const THIN: u16 = 0x25;
const ONE_BYTE: u16 = 8;
const UNCACHED: u16 = 0x10;

/// Objects of a heap, 256 bytes apart; their maps stand below.
#[derive(Default)]
struct Made {
    bytes: RefCell<BTreeMap<u64, u8>>,
    next: u64,
}

impl ReadUser for Made {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let bytes = self.bytes.borrow();
        into.iter_mut()
            .zip(address..)
            .all(|(byte, address)| bytes.get(&address).map(|found| *byte = *found).is_some())
    }
}

impl Made {
    fn put(&self, address: u64, bytes: &[u8]) {
        self.bytes.borrow_mut().extend((address..).zip(bytes.iter().copied()));
    }

    /// A string with what is behind its length; its tagged pointer.
    fn string(&mut self, kind: u16, length: u32, rest: &[u8]) -> u64 {
        self.next += 0x100;
        let (object, map) = (0x10_0000 + self.next, 0x8_0000 + self.next);
        self.put(map + 12, &kind.to_le_bytes());
        self.put(object, &(map + 1).to_le_bytes());
        self.put(object + 12, &length.to_le_bytes());
        self.put(object + 16, rest);
        object + 1
    }

    fn one_byte(&mut self, text: &str) -> u64 {
        self.string(SEQUENTIAL | ONE_BYTE, text.len() as u32, text.as_bytes())
    }

    fn of_two(&mut self, kind: u16, length: u32, words: [u64; 2]) -> u64 {
        self.string(kind, length, words.map(u64::to_le_bytes).as_flattened())
    }

    fn text(&self, string: u64, limit: u32) -> Result<String, NotRead> {
        let layout: Layout = recorded::layout(Vec::new());
        string::text(Heap { memory: self, layout: &layout, isolate: 0 }, Tagged::of(string).unwrap(), limit)
    }
}

fn smi(value: u64) -> u64 {
    value << 32
}

#[test]
fn a_string_is_read_through_all_that_it_is_made_of() {
    let mut made = Made::default();
    let units: Vec<u8> = "größe →".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = made.string(SEQUENTIAL, 7, &units);
    assert_eq!(made.text(wide, 99).unwrap(), "größe →");

    let narrow = made.one_byte("leaktrace");
    let slice = made.of_two(SLICED | ONE_BYTE, 5, [narrow, smi(4)]);
    assert_eq!(made.text(slice, 99).unwrap(), "trace");

    let both = made.of_two(CONCATENATED, 12, [slice, wide]);
    assert_eq!(made.text(both, 99).unwrap(), "tracegröße →");
    let middle = made.of_two(SLICED, 6, [both, smi(3)]);
    assert_eq!(made.text(middle, 99).unwrap(), "cegröß");
    let behind = made.of_two(SLICED, 3, [both, smi(6)]);
    assert_eq!(made.text(behind, 99).unwrap(), "röß");

    let thin = made.of_two(THIN, 12, [both, 0]);
    assert_eq!(made.text(thin, 99).unwrap(), "tracegröße →");

    made.put(0x5000, b"outside");
    let external = made.of_two(EXTERNAL | ONE_BYTE, 7, [0, 0x5000]);
    assert_eq!(made.text(external, 99).unwrap(), "outside");
}

#[test]
fn what_v8_keeps_no_pointer_to_is_no_source() {
    let mut made = Made::default();
    let uncached = made.of_two(EXTERNAL | UNCACHED, 7, [0, 0x5000]);
    assert_eq!(made.text(uncached, 99), Err(NotRead::NoSource));
}

#[test]
fn long_strings_are_cut_and_control_characters_replaced() {
    let mut made = Made::default();
    let text = made.one_byte("red \x1b[31m");
    assert_eq!(made.text(text, 99).unwrap(), "red \u{fffd}[31m");
    assert_eq!(made.text(text, 3).unwrap(), "red…");
}

#[test]
fn rings_and_lengths_that_do_not_fit_are_refused() {
    let mut made = Made::default();
    let ring = made.of_two(CONCATENATED, 1 << 20, [0, 0]);
    made.put(ring - 1 + 16, [ring, ring].map(u64::to_le_bytes).as_flattened());
    assert_eq!(made.text(ring, u32::MAX), Err(NotRead::Malformed));

    let thin = made.of_two(THIN, 8, [0, 0]);
    made.put(thin - 1 + 16, &thin.to_le_bytes());
    assert_eq!(made.text(thin, 99), Err(NotRead::Malformed));

    let short = made.one_byte("short");
    let slice = made.of_two(SLICED, 9, [short, smi(0)]);
    assert_eq!(made.text(slice, 99), Err(NotRead::Malformed));
    let far = made.of_two(SLICED, 9, [short, smi(0xffff_ffff)]);
    assert_eq!(made.text(far, 99), Err(NotRead::Malformed));
    let huge = made.string(SEQUENTIAL, u32::MAX, b"");
    assert_eq!(made.text(huge, u32::MAX), Err(NotRead::Malformed));
}
