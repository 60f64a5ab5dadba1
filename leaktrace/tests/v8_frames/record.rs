//! What the decoder reads of a process, kept for a test that has no node:
//! `cargo test --test v8_frames -- --ignored record` writes it anew.
//!
//! Little-endian: a count of frames, each key, function, shared, bytecode, whether it is interpreted, offset or pc (8 bytes
//! each); a count of sizes of bytecodes and those; then lines of 64 bytes, each behind its address.

use std::{cell::RefCell, collections::BTreeMap};

use leaktrace::{
    process::ReadUser,
    runtime::v8::{At, Decoder, FunctionSeen},
};

use crate::{layout::Binary, node::Node};

const LINE: u64 = 64;

struct Recorder<'a, M> {
    memory: &'a M,
    lines: RefCell<BTreeMap<u64, [u8; LINE as usize]>>,
}

impl<M: ReadUser> ReadUser for Recorder<'_, M> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let end = address + into.len() as u64;
        for start in (address / LINE * LINE..end).step_by(LINE as usize) {
            let mut line = [0; LINE as usize];
            if self.memory.read(start, &mut line) {
                self.lines.borrow_mut().insert(start, line);
            }
        }
        self.memory.read(address, into)
    }
}

/// Of the frames in the test's own script.
pub(crate) fn record(node: &Node, binary: &Binary) -> Vec<u8> {
    let decoder = || Decoder::new(binary.layout.clone(), node.builtins.clone());
    let mut all = decoder();
    let is_own = |(seen, at): &(FunctionSeen, At)| {
        all.learn(&node.memory, seen).unwrap();
        let frames = all.frame(&node.memory, seen.key, *at);
        frames.iter().all(|frame| frame.file.ends_with("chain.cjs"))
    };
    let frames: Vec<_> = node.frames(binary).into_iter().filter(is_own).collect();
    let recorder = Recorder { memory: &node.memory, lines: RefCell::default() };
    let mut decoder = decoder();
    let mut bytes = Vec::new();
    let mut put = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
    put(frames.len() as u64);
    for (seen, at) in frames {
        decoder.learn(&recorder, &seen).unwrap();
        decoder.frame(&recorder, seen.key, at);
        let (interpreted, place) = match at {
            At::Bytecode(offset) => (1, u64::from(offset)),
            At::Code(pc) => (0, pc),
            At::Builtin => panic!("of its own script"),
        };
        [seen.key.0, seen.function, seen.shared, seen.bytecode, interpreted, place]
            .into_iter()
            .for_each(&mut put);
    }
    put(binary.layout.bytecode.sizes.len() as u64);
    bytes.extend_from_slice(&binary.layout.bytecode.sizes);
    for (address, line) in recorder.lines.into_inner() {
        bytes.extend_from_slice(&address.to_le_bytes());
        bytes.extend_from_slice(&line);
    }
    bytes
}
