//! From bytes to a [`Binary`], by the `object` crate.

use std::collections::HashMap;

use object::{
    Endianness, Object, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget,
    elf::{
        DT_NEEDED, DT_SONAME, EM_AARCH64, EM_X86_64, PF_X, PT_LOAD, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT,
        R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, STT_FUNC, STT_GNU_IFUNC,
    },
    read::elf::{ElfFile64, FileHeader, ProgramHeader, Sym},
};
use thiserror::Error;

use super::{Architecture, Binary, FileOffset, Function, LinkAddress, Segment};

#[derive(Debug, Error)]
pub enum BinaryError {
    #[error("not an ELF file, so it has no functions to probe")]
    NotElf,
    #[error("a 32-bit ELF file: leaktrace traces 64-bit programs only; use a 64-bit build of the program")]
    Bits32,
    #[error("damaged ELF file ({what}): probes would land in the wrong place; reinstall the file")]
    Damaged { what: object::Error },
    #[error("the debug file has another build id than the program; install the one of the same version")]
    ForeignDebugFile,
}

impl From<object::Error> for BinaryError {
    fn from(what: object::Error) -> Self {
        Self::Damaged { what }
    }
}

pub(super) type Elf<'data> = ElfFile64<'data, Endianness>;

pub(super) fn binary(data: &[u8]) -> Result<Binary<'_>, BinaryError> {
    let elf = elf(data)?;
    let endian = elf.endian();
    let mut binary = Binary {
        architecture: match elf.elf_header().e_machine(endian) {
            EM_X86_64 => Architecture::X86_64,
            EM_AARCH64 => Architecture::Aarch64,
            other => Architecture::Other(other.0),
        },
        build_id: elf.build_id()?,
        debug_link: elf.gnu_debuglink()?,
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        functions: defined_functions(&elf),
        segments: Vec::new(),
        imports: imports(&elf),
    };
    for header in elf.elf_program_headers() {
        if let Some(interpreter) = header.interpreter(endian, data)? {
            binary.interpreter = Some(interpreter);
        }
        if header.p_type(endian) == PT_LOAD && header.p_flags(endian).contains(PF_X) {
            binary.segments.push(Segment {
                address: LinkAddress(header.p_vaddr(endian)),
                offset: FileOffset(header.p_offset(endian)),
                // A debug file's segments reach past its end: it has the headers without the code.
                bytes: header.data(endian, data).unwrap_or_default(),
            });
        }
    }
    let dynamic = elf.elf_dynamic_table()?;
    for entry in &dynamic {
        let text = || dynamic.string(entry).ok().and_then(|name| std::str::from_utf8(name).ok());
        match entry.tag {
            DT_NEEDED => binary.needed.extend(text()),
            DT_SONAME => binary.soname = text(),
            _ => {}
        }
    }
    binary.order_functions();
    Ok(binary)
}

/// Every defined function of both symbol tables, unsorted and unchecked.
pub(super) fn functions(data: &[u8]) -> Result<Vec<Function<'_>>, BinaryError> {
    Ok(defined_functions(&elf(data)?))
}

pub(super) fn elf(data: &[u8]) -> Result<Elf<'_>, BinaryError> {
    match data {
        [0x7f, b'E', b'L', b'F', 2, ..] => Ok(Elf::parse(data)?),
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(BinaryError::Bits32),
        _ => Err(BinaryError::NotElf),
    }
}

fn defined_functions<'data>(elf: &Elf<'data>) -> Vec<Function<'data>> {
    let endian = elf.endian();
    let tables = [(elf.elf_dynamic_symbol_table(), true), (elf.elf_symbol_table(), false)];
    let mut functions = Vec::new();
    for (table, exported) in tables {
        for symbol in table.iter() {
            let kind = symbol.st_type();
            if symbol.is_undefined(endian) || (kind != STT_FUNC && kind != STT_GNU_IFUNC) {
                continue;
            }
            // A name that cannot be read, or is not text, is none that is looked for.
            let Ok(name) = symbol.name(endian, table.strings()) else { continue };
            let Ok(name) = std::str::from_utf8(name) else { continue };
            functions.push(Function {
                name,
                address: LinkAddress(symbol.st_value(endian)),
                size: symbol.st_size(endian),
                indirect: kind == STT_GNU_IFUNC,
                exported,
            });
        }
    }
    functions
}

/// What the loader writes where: PLT slots, and the slots that code built with -fno-plt calls through.
fn imports<'data>(elf: &Elf<'data>) -> HashMap<LinkAddress, &'data str> {
    let (Some(symbols), Some(relocations)) = (elf.dynamic_symbol_table(), elf.dynamic_relocations()) else {
        return HashMap::new();
    };
    relocations
        .filter_map(|(slot, relocation)| {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
            let binds = match elf.elf_header().e_machine(elf.endian()) {
                EM_X86_64 => r_type == R_X86_64_JUMP_SLOT || r_type == R_X86_64_GLOB_DAT,
                EM_AARCH64 => r_type == R_AARCH64_JUMP_SLOT || r_type == R_AARCH64_GLOB_DAT,
                _ => false,
            };
            let RelocationTarget::Symbol(index) = relocation.target() else { return None };
            let name = symbols.symbol_by_index(index).ok()?.name().ok()?;
            binds.then_some((LinkAddress(slot), name))
        })
        .collect()
}
