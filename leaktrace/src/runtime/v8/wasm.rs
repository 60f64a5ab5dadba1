//! Functions of WebAssembly by their machine code: V8 keeps that outside its heap, and frames do not say whose they are.
//!
//! What V8 itself asks for a stack trace is read here: the code manager's map of code regions, in it the module of a region, in
//! that the code by address, and in the code the function's number
//! ([src/wasm/wasm-code-manager.h](https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/wasm/wasm-code-manager.h)).
//! Where in these objects the maps lie differs by version; they are found by what they have to hold.

mod code;
mod module;
mod tree;

use std::collections::{HashMap, HashSet};

use self::{
    code::{Code, Layout},
    module::Module,
};
use super::{
    frame::{JsFrame, Tier},
    layout::Version,
};
use crate::process::ReadUser;

/// Modules whose names are remembered; then all are forgotten, and those still wanted read anew.
const MAX_MODULES: usize = 64;

/// Addresses that were not found which are told apart.
const MAX_UNKNOWN: usize = 1 << 16;

/// What is known of one process's WebAssembly.
#[derive(Debug)]
pub struct Wasm {
    version: Version,
    /// Where V8 has the pointer to its code manager.
    manager: u64,
    layout: Option<Layout>,
    modules: HashMap<u64, Module>,
    unknown: HashSet<u64>,
}

impl Wasm {
    /// `manager` is the address of V8's pointer to its code manager, see [`super::detect::V8::code_manager`].
    #[must_use]
    pub fn new(version: Version, manager: u64) -> Self {
        Self { version, manager, layout: None, modules: HashMap::new(), unknown: HashSet::new() }
    }

    /// The function that returns to `pc`; none if that is not known, now or for ever: then it can be asked for again.
    pub fn frame(&mut self, memory: &impl ReadUser, pc: u64) -> Option<JsFrame> {
        let frame = self.known(memory, pc);
        if frame.is_some() {
            self.unknown.remove(&pc);
        } else if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.insert(pc);
        }
        frame
    }

    fn known(&mut self, memory: &impl ReadUser, pc: u64) -> Option<JsFrame> {
        let Code { module, index } = code::find(memory, self.manager, pc, &mut self.layout)?;
        let bytes = module::wire_bytes(memory, module)?;
        if self.modules.get(&module).is_none_or(|known| known.bytes != bytes) {
            if self.modules.len() >= MAX_MODULES {
                self.modules.clear();
            }
            self.modules.insert(module, Module::read(memory, bytes, self.version)?);
        }
        let module = self.modules.get(&module)?;
        Some(frame(module.name(index)?, module.url()))
    }

    /// How many places have no name.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.unknown.len() as u64
    }
}

/// What a function of which nothing is known is called.
#[must_use]
pub fn unnamed() -> JsFrame {
    frame("wasm-function".to_owned(), "wasm".to_owned())
}

/// What passes a call on to JavaScript, by V8's name for that code.
#[must_use]
pub fn to_javascript() -> JsFrame {
    frame("wasm-to-js".to_owned(), "wasm".to_owned())
}

fn frame(function: String, file: String) -> JsFrame {
    JsFrame {
        function,
        file,
        line: None,
        column: None,
        start: None,
        tier: Tier::Unknown,
        inlined: false,
        missing: None,
    }
}

/// What may point to an object of V8's that is none of its heap's.
fn is_pointer(word: u64) -> bool {
    word != 0 && word.is_multiple_of(8)
}

/// As many words from `address` on, which are `bytes` at most, as there are: an object may be the last of its memory.
fn words(memory: &impl ReadUser, address: u64, bytes: u64) -> Vec<u64> {
    const TOGETHER: usize = 0x100;
    let mut all = Vec::new();
    for address in (address..address.saturating_add(bytes)).step_by(TOGETHER) {
        let Some(part) = memory.array::<TOGETHER>(address) else { break };
        all.extend(part.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    all
}

#[cfg(test)]
mod tests;
