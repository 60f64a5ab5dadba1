//! What a module says of itself: names of its functions, and the URL that V8 gives it.

use std::collections::HashMap;

use rapidhash::v1::{RapidSecrets, rapidhash_v1_seeded};
use wasmparser::{BinaryReader, CustomSectionReader, ExportSectionReader, ExternalKind, KnownCustom, Name};

use super::{code::MODULE, is_pointer, words};
use crate::{process::ReadUser, runtime::v8::layout::Version};

/// How every module begins: the magic number and the version, which never had another value.
const BEGIN: u64 = u64::from_le_bytes(*b"\0asm\x01\0\0\0");

/// V8 takes no larger one (`kV8MaxWasmModuleSize`).
const MAX_LENGTH: u64 = 1 << 30;
/// Sections with names that are larger are not read: those of the largest programs have some 10 MB.
const MAX_SECTION: u32 = 64 << 20;
/// Longer names are cut, as V8's own are for its stack traces.
const MAX_NAME: usize = 256;
/// Modules that are longer have their length for a hash (`String::kMaxHashCalcLength`).
const MAX_HASHED: u64 = 16383;

/// Numbers of sections (<https://webassembly.github.io/spec/core/binary/modules.html>).
const CUSTOM: u8 = 0;
const EXPORTS: u8 = 7;

/// Where in the process a module's bytes are, as they were given to V8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireBytes {
    start: u64,
    length: u64,
}

#[derive(Debug)]
pub(super) struct Module {
    pub(super) bytes: WireBytes,
    name: Option<String>,
    hash: u32,
    /// Of functions: by the name section, else by which they are exported.
    names: HashMap<u32, String>,
}

/// Of a `NativeModule`, which has a pointer to {start, length}.
pub(super) fn wire_bytes(memory: &impl ReadUser, module: u64) -> Option<WireBytes> {
    words(memory, module, MODULE).into_iter().find_map(|vector| {
        let start = is_pointer(vector).then(|| memory.word(vector))??;
        let length = memory.word(vector.checked_add(8)?)?;
        let is_module = (8..=MAX_LENGTH).contains(&length) && memory.word(start)? == BEGIN;
        is_module.then_some(WireBytes { start, length })
    })
}

impl Module {
    /// None if it could not be read to its end.
    pub(super) fn read(memory: &impl ReadUser, bytes: WireBytes, version: Version) -> Option<Self> {
        let hash = hash(memory, bytes, version)?;
        let mut module = Self { bytes, name: None, hash, names: HashMap::new() };
        let mut at = 8;
        while at < bytes.length {
            let section = Section::at(memory, bytes, at)?;
            at = section.end;
            let take = match section.id {
                EXPORTS => Self::take_exports,
                CUSTOM => Self::take_names,
                _ => continue,
            };
            if let Some(content) = section.content(memory) {
                // What cannot be parsed has no names: V8 takes such a name section too.
                let _ = take(&mut module, &content);
            }
        }
        Some(module)
    }

    /// As V8 has it in stack traces.
    pub(super) fn url(&self) -> String {
        let Self { name, hash, .. } = self;
        match name {
            Some(name) => format!("wasm://wasm/{name}-{hash:08x}"),
            None => format!("wasm://wasm/{hash:08x}"),
        }
    }

    /// None for a number that no function can have.
    pub(super) fn name(&self, index: u32) -> Option<String> {
        let number = || (u64::from(index) < self.bytes.length).then(|| format!("wasm-function[{index}]"));
        self.names.get(&index).cloned().or_else(number)
    }

    fn take_exports(&mut self, content: &[u8]) -> wasmparser::Result<()> {
        for export in ExportSectionReader::new(BinaryReader::new(content, 0))? {
            let export = export?;
            if export.kind == ExternalKind::Func {
                self.names.entry(export.index).or_insert_with(|| cut(export.name));
            }
        }
        Ok(())
    }

    fn take_names(&mut self, content: &[u8]) -> wasmparser::Result<()> {
        let section = CustomSectionReader::new(BinaryReader::new(content, 0))?;
        let KnownCustom::Name(names) = section.as_known() else { return Ok(()) };
        for name in names {
            match name? {
                Name::Module { name, .. } if !name.is_empty() => self.name = Some(cut(name)),
                Name::Function(names) => {
                    for naming in names {
                        let naming = naming?;
                        if !naming.name.is_empty() {
                            self.names.insert(naming.index, cut(naming.name));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// One section of a module.
struct Section {
    id: u8,
    start: u64,
    size: u32,
    /// From the module's start.
    end: u64,
}

impl Section {
    fn at(memory: &impl ReadUser, bytes: WireBytes, at: u64) -> Option<Self> {
        // Its number and as many bytes as a length of 32 bits can have.
        let mut head = [0; 6];
        let length = usize::try_from(bytes.length - at).ok()?.min(head.len());
        memory.read(bytes.start.wrapping_add(at), &mut head[..length]).then_some(())?;
        let mut reader = BinaryReader::new(&head[..length], 0);
        let id = reader.read_u8().ok()?;
        let size = reader.read_var_u32().ok()?;
        let start = at + reader.original_position();
        let end = start + u64::from(size);
        (end <= bytes.length).then_some(Self { id, start: bytes.start.wrapping_add(start), size, end })
    }

    fn content(&self, memory: &impl ReadUser) -> Option<Vec<u8>> {
        (self.size <= MAX_SECTION).then(|| memory.bytes(self.start, self.size as usize))?
    }
}

/// As V8 has it in the URL
/// (`CreateWasmScript` in [src/wasm/wasm-engine.cc](https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/wasm/wasm-engine.cc)):
/// a string's hash with a seed of 0, and its kind below.
fn hash(memory: &impl ReadUser, bytes: WireBytes, version: Version) -> Option<u32> {
    const KIND: u32 = 2;
    const KIND_BITS: u32 = 2;
    let hash = if bytes.length > MAX_HASHED {
        bytes.length as u32
    } else {
        let content = memory.bytes(bytes.start, bytes.length as usize)?;
        // Since 14 it is rapidhash: its upper half is not used.
        if version.major < 14 { one_at_a_time(&content) } else { rapidhash_v1_seeded(&content, &SEED) as u32 }
    };
    Some(hash << KIND_BITS | KIND)
}

const SEED: RapidSecrets = RapidSecrets::seed_cpp(0);

/// Jenkins's: <https://en.wikipedia.org/wiki/Jenkins_hash_function#one_at_a_time>
fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = bytes.iter().fold(0_u32, |hash, byte| {
        let hash = hash.wrapping_add((*byte).into());
        let hash = hash.wrapping_add(hash << 10);
        hash ^ hash >> 6
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}
