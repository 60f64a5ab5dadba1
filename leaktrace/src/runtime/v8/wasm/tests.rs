//! On memory that is laid out by hand, as V8 10, 11 and 13 do.

use std::collections::BTreeMap;

use super::*;

const MANAGER: u64 = 0x1000;
const REGION: u64 = 0x10_0000;

/// Words by address; everything between them can be read and is 0, outside of 0x1000 to 0x80000 nothing.
#[derive(Default)]
struct Words(BTreeMap<u64, u8>);

impl Words {
    fn set(&mut self, address: u64, bytes: &[u8]) {
        self.0.extend((address..).zip(bytes.iter().copied()));
    }

    fn put(&mut self, address: u64, word: u64) {
        self.set(address, &word.to_le_bytes());
    }

    /// A map of at most three nodes at `header`: (node, key, values).
    fn map(&mut self, header: u64, nodes: &[(u64, u64, &[u64])]) {
        let root = nodes[nodes.len() / 2].0;
        for (offset, word) in
            [(8, root), (16, nodes[0].0), (24, nodes[nodes.len() - 1].0), (32, nodes.len() as u64)]
        {
            self.put(header + offset, word);
        }
        for (at, (node, key, values)) in nodes.iter().enumerate() {
            self.put(node + 8, if *node == root { header } else { root });
            match at.cmp(&(nodes.len() / 2)) {
                std::cmp::Ordering::Less => self.put(root + 16, *node),
                std::cmp::Ordering::Greater => self.put(root + 24, *node),
                std::cmp::Ordering::Equal => {}
            }
            for (value, address) in std::iter::once(key).chain(*values).zip((node + 32..).step_by(8)) {
                self.put(address, *value);
            }
        }
    }
}

impl ReadUser for Words {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let is_there = (0x1000..0x8_0000).contains(&address) && into.len() as u64 <= 0x8_0000 - address;
        if is_there {
            for (byte, address) in into.iter_mut().zip(address..) {
                *byte = self.0.get(&address).copied().unwrap_or(0);
            }
        }
        is_there
    }
}

/// A module of one import and two functions, of which the first has a name.
fn module_bytes() -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    // Export 2 as `run`; then names: the module `m`, function 1 `inner`.
    bytes.extend(b"\x07\x07\x01\x03run\x00\x02");
    bytes.extend(b"\x00\x13\x04name\x00\x02\x01m\x01\x08\x01\x01\x05inner");
    bytes
}

const MODULE: u64 = 0x4000;
const WIRE: u64 = 0x7000;

/// `size` and `index`: where V8's `WasmCode` has them.
fn memory(size: u64, index: u64) -> Words {
    let mut words = Words::default();
    words.put(MANAGER, 0x2000);
    words.map(0x2048, &[(0x3000, REGION, &[REGION + 0x1000, MODULE])]);
    // Jump table and first function in the map, the second function in the array that comes after it.
    words.map(0x4138, &[(0x3100, REGION, &[0x5000]), (0x3200, REGION + 0x40, &[0x5100])]);
    for (at, address) in [(0x4160, 0x6000), (0x4168, 0x6008), (0x4170, 0x6010)] {
        words.put(at, address);
    }
    words.put(0x6000, 0x5200);
    for (code, start, bytes, number) in [
        (0x5000, REGION, 0x40, u32::MAX),
        (0x5100, REGION + 0x40, 0x80, 1),
        (0x5200, REGION + 0x100, 0x40, 2),
    ] {
        words.put(code, MODULE);
        words.put(code + 8, start);
        words.set(code + size, &u32::to_le_bytes(bytes));
        words.set(code + index, &number.to_le_bytes());
    }
    let bytes = module_bytes();
    words.put(0x40c8, 0x6100);
    words.put(0x6100, WIRE);
    words.put(0x6108, bytes.len() as u64);
    words.set(WIRE, &bytes);
    words
}

fn named(wasm: &mut Wasm, memory: &Words, pc: u64) -> Option<(String, String)> {
    wasm.frame(memory, pc).map(|frame| (frame.function, frame.file))
}

#[test]
fn a_return_address_leads_to_the_name_of_its_function_in_each_layout() {
    for (size, index) in [(0x20, 0x30), (0x18, 0x2c), (0x20, 0x38)] {
        let memory = memory(size, index);
        let mut wasm = Wasm::new(Version::new(11, 3, 244), MANAGER);
        let (function, file) = named(&mut wasm, &memory, REGION + 0x50).unwrap();
        assert_eq!(function, "inner");
        assert!(file.starts_with("wasm://wasm/m-") && file.len() == "wasm://wasm/m-01234567".len(), "{file}");
        let (function, _) = named(&mut wasm, &memory, REGION + 0x100).unwrap();
        assert_eq!(function, "run", "new code that is not in the map yet, and a name by its export");
        assert_eq!(wasm.unnamed(), 0);
    }
}

#[test]
fn what_is_no_function_has_no_name_and_is_counted_once() {
    let memory = memory(0x18, 0x2c);
    let mut wasm = Wasm::new(Version::new(11, 3, 244), MANAGER);
    // Before the region, in its jump table, behind the first function's code, and behind the region.
    for pc in [REGION - 8, REGION + 0x10, REGION + 0xd0, REGION + 0x1000] {
        assert_eq!(named(&mut wasm, &memory, pc), None, "{pc:#x}");
        assert_eq!(named(&mut wasm, &memory, pc), None, "{pc:#x}");
    }
    assert_eq!(wasm.unnamed(), 4);
}

#[test]
fn code_that_is_found_later_counts_no_more() {
    let mut wasm = Wasm::new(Version::new(11, 3, 244), MANAGER);
    let mut early = memory(0x18, 0x2c);
    early.put(0x2048 + 32, 0);
    assert_eq!(named(&mut wasm, &early, REGION + 0x50), None);
    assert_eq!(wasm.unnamed(), 1);
    assert!(named(&mut wasm, &memory(0x18, 0x2c), REGION + 0x50).is_some());
    assert_eq!(wasm.unnamed(), 0);
}

#[test]
fn whatever_a_word_is_overwritten_by_nothing_panics_and_no_name_is_wrong() {
    let whole = memory(0x18, 0x2c);
    let addresses: Vec<u64> = whole.0.keys().copied().filter(|address| address % 8 == 0).collect();
    for address in addresses {
        for word in [0, 1, u64::MAX, 0x7fff8, REGION, MODULE, 0x2048] {
            let mut broken = memory(0x18, 0x2c);
            broken.put(address, word);
            let mut wasm = Wasm::new(Version::new(11, 3, 244), MANAGER);
            let found = named(&mut wasm, &broken, REGION + 0x50).map(|(function, _)| function);
            let is_in_bytes = (WIRE..WIRE + 0x100).contains(&address);
            let is_number = address == 0x5128;
            assert!(
                is_in_bytes || is_number || matches!(found.as_deref(), None | Some("inner")),
                "{address:#x} = {word:#x}: {found:?}"
            );
        }
    }
}
