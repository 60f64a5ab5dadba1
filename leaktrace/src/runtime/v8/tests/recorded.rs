//! Memory of a node 22, as `tests/v8_frames/record.rs` wrote it.

use std::collections::BTreeMap;

use leaktrace_common::v8::FunctionKey;

use super::super::{
    At, FunctionSeen,
    layout::{Bytecode, Code, Deopt, Function, Layout, Map, Scope, Script, Shared, Types, Version},
};
use crate::process::ReadUser;

const LINE: usize = 64;
const FILE: &[u8] = include_bytes!("../../../../tests/v8_frames/node-22.recorded");

pub(super) struct Recorded {
    pub(super) frames: Vec<(FunctionSeen, At)>,
    sizes: Vec<u8>,
    lines: BTreeMap<u64, [u8; LINE]>,
    whole: BTreeMap<u64, [u8; LINE]>,
}

impl Recorded {
    pub(super) fn read() -> Self {
        let mut rest = FILE;
        let word = |rest: &mut &[u8]| u64::from_le_bytes(rest.split_off(..8).unwrap().try_into().unwrap());
        let frames = (0..word(&mut rest)).map(|_| {
            let [key, function, shared, bytecode, interpreted, place] = [(); 6].map(|()| word(&mut rest));
            let at = if interpreted == 1 { At::Bytecode(place as u32) } else { At::Code(place) };
            (FunctionSeen { key: FunctionKey(key), function, shared, bytecode }, at)
        });
        let frames = frames.collect();
        let count = word(&mut rest) as usize;
        let sizes = rest.split_off(..count).unwrap().to_vec();
        let mut lines = BTreeMap::new();
        while !rest.is_empty() {
            lines.insert(word(&mut rest), rest.split_off(..LINE).unwrap().try_into().unwrap());
        }
        Self { frames, sizes, whole: lines.clone(), lines }
    }

    pub(super) fn forget(&mut self) {
        self.lines.clear();
    }

    /// Changes some bytes, words and lines.
    pub(super) fn spoil(&mut self, mut random: impl FnMut() -> u64) {
        let places: Vec<u64> = self.lines.keys().copied().collect();
        for _ in 0..1 + random() % 12 {
            let place = |random: u64| places[random as usize % places.len()];
            let from = place(random()) | 1;
            let Some(line) = self.lines.get_mut(&place(random())) else { continue };
            let at = random() as usize % LINE;
            match random() % 4 {
                0 => line[at] ^= 1 << (random() % 8),
                1 => line[at] = random() as u8,
                // A pointer to something else.
                2 => line[at / 8 * 8..][..8].copy_from_slice(&from.to_le_bytes()),
                _ => {
                    self.lines.remove(&place(random()));
                }
            }
        }
    }

    pub(super) fn word(&self, address: u64) -> u64 {
        let mut word = [0; 8];
        assert!(self.read(address, &mut word), "nothing was recorded at {address:#x}");
        u64::from_le_bytes(word)
    }

    pub(super) fn put(&mut self, address: u64, word: u64) {
        let line = self.lines.get_mut(&(address / LINE as u64 * LINE as u64)).unwrap();
        line[address as usize % LINE..][..8].copy_from_slice(&word.to_le_bytes());
    }

    pub(super) fn mend(&mut self) {
        self.lines.clone_from(&self.whole);
    }

    pub(super) fn layout(&self) -> Layout {
        layout(self.sizes.clone())
    }
}

impl ReadUser for Recorded {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        into.iter_mut().zip(address..).all(|(byte, address)| {
            let line = self.lines.get(&(address / LINE as u64 * LINE as u64));
            line.is_some_and(|line| {
                *byte = line[address as usize % LINE];
                true
            })
        })
    }
}

/// Of V8 12.4.
pub(super) fn layout(sizes: Vec<u8>) -> Layout {
    let named = [(0xae, "FixedArray"), (0xcf, "InterpreterData")];
    Layout {
        version: Version { major: 12, minor: 4, build: 254, patch: 0 },
        function: Function { shared: 0x20, code: Some(0x18) },
        shared: Shared { data: 8, name_or_scope: 0x10, script: 0x20, literal: 0x34 },
        script: Script { source: 8, name: 0x10, line_ends: 0x38, id: 0x40 },
        scope: Scope { local_count: 2, first_local: 3, fixed_positions: false },
        bytecode: Bytecode { length: 8, data: 0x40, source_positions: 0x18, sizes, new_positions: false },
        code: Code {
            deopt: 8,
            source_positions: 0x10,
            start: 0x28,
            is_split: true,
            size: 0x34,
            flags: 0x30,
            baseline: 10,
        },
        deopt: Deopt { inlined_count: 1, literals: 2, inlining_positions: 7 },
        map: Map { instance_type: 12, instance_size: 8, constructor: 0x20 },
        types: Types {
            map: 0x108,
            shared: 0x112,
            script: 0xa7,
            scope: 0x110,
            code: 0xce,
            bytecode_array: 0xcd,
            debug_info: Some(0x9a),
            first_function: 0x812,
            last_function: 0x822,
            first_object: 0x123,
            names: named.map(|(kind, name)| (kind, name.to_owned())).to_vec(),
        },
    }
}
