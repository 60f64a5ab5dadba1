//! What an ELF file says of itself: functions, executable segments, imports, needed libraries.
//!
//! Only 64-bit files are read. Addresses are turned into file offsets by the PT_LOAD segments, never by
//! sections or by the symbol's own section: the kernel maps segments, and files whose sections say otherwise
//! exist (<https://github.com/aya-rs/aya/issues/1198>).
//!
//! Nothing here opens the file: see [`crate::process::OpenBinary`]. [`debug_file`] and [`loader`] name the
//! files that belong to one.

mod address;
pub mod debug_file;
pub mod loader;
mod parse;
mod tables;
pub mod variables;

use std::collections::HashMap;

pub use self::{
    address::{FileOffset, LinkAddress},
    parse::BinaryError,
    tables::tables,
};

/// The instruction set of a file's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Aarch64,
    /// ELF machine number (`e_machine`) of anything else.
    Other(u16),
}

/// A function that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'data> {
    pub name: &'data str,
    pub address: LinkAddress,
    /// Bytes of code; 0 where the symbol does not say.
    pub size: u64,
    /// An IFUNC: the code at the address does not do the work but chooses who does.
    pub indirect: bool,
    /// From the dynamic symbol table: other files can call it by this name.
    pub exported: bool,
}

/// Code as it stands in the file.
#[derive(Clone, Copy, Debug)]
struct Segment<'data> {
    address: LinkAddress,
    offset: FileOffset,
    bytes: &'data [u8],
}

/// A parsed file, borrowing its bytes.
#[derive(Debug)]
pub struct Binary<'data> {
    pub architecture: Architecture,
    pub build_id: Option<&'data [u8]>,
    /// Name and checksum in `.gnu_debuglink`.
    pub debug_link: Option<(&'data [u8], u32)>,
    /// PT_INTERP: the dynamic loader that starts this program.
    pub interpreter: Option<&'data [u8]>,
    /// DT_SONAME
    pub soname: Option<&'data str>,
    /// DT_NEEDED, in the file's order.
    pub needed: Vec<&'data str>,
    /// Sorted by address.
    functions: Vec<Function<'data>>,
    segments: Vec<Segment<'data>>,
    /// Slot of the global offset table -> name of the function that the loader puts there.
    imports: HashMap<LinkAddress, &'data str>,
}

impl<'data> Binary<'data> {
    /// Reads the bytes of an ELF file.
    ///
    /// # Errors
    /// Not an ELF file, a 32-bit one, or a damaged one.
    pub fn parse(data: &'data [u8]) -> Result<Self, BinaryError> {
        parse::binary(data)
    }

    /// Adds the names that a separate debug file has for this file's functions.
    ///
    /// # Errors
    /// As [`Binary::parse`], and where the build ids differ.
    pub fn add_symbols_of(&mut self, debug: &'data [u8]) -> Result<(), BinaryError> {
        let other = parse::binary(debug)?;
        if self.build_id.is_some() && other.build_id.is_some() && self.build_id != other.build_id {
            return Err(BinaryError::ForeignDebugFile);
        }
        // A debug file's segments have no bytes, so whether an address is code is asked of this file.
        self.functions.extend(parse::functions(debug)?.into_iter().filter(|function| !function.exported));
        self.order_functions();
        Ok(())
    }

    /// The defined functions, by address.
    #[must_use]
    pub fn functions(&self) -> &[Function<'data>] {
        &self.functions
    }

    /// Whether this is a program that no dynamic loader takes part in: its allocator can only be in itself.
    /// A static PIE has a dynamic section too, but exports nothing, unlike a library.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none()
            && self.needed.is_empty()
            && !self.functions.iter().any(|function| function.exported)
    }

    /// The start of the first function behind `address`.
    #[must_use]
    pub fn next_function(&self, address: LinkAddress) -> Option<LinkAddress> {
        let next = self.functions.partition_point(|function| function.address <= address);
        self.functions.get(next).map(|function| function.address)
    }

    /// The code from `address` to the end of its segment; none where the file has no code.
    #[must_use]
    pub fn code(&self, address: LinkAddress) -> Option<&'data [u8]> {
        let segment = self.segments.iter().find(|segment| segment.holds(address))?;
        segment.bytes.get((address.0 - segment.address.0) as usize..)
    }

    /// Where in the file the code at `address` stands.
    #[must_use]
    pub fn offset_of(&self, address: LinkAddress) -> Option<FileOffset> {
        let segment = self.segments.iter().find(|segment| segment.holds(address))?;
        Some(FileOffset(segment.offset.0 + (address.0 - segment.address.0)))
    }

    /// The address of the code that stands at `offset` in the file.
    #[must_use]
    pub fn address_of(&self, offset: FileOffset) -> Option<LinkAddress> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.0.checked_sub(segment.offset.0)?;
            (inside < segment.bytes.len() as u64).then(|| segment.address.plus(inside))
        })
    }

    /// The function that the loader binds to a slot of the global offset table.
    #[must_use]
    pub fn import(&self, slot: LinkAddress) -> Option<&'data str> {
        self.imports.get(&slot).copied()
    }

    fn order_functions(&mut self) {
        let segments = &self.segments;
        self.functions.retain(|function| segments.iter().any(|segment| segment.holds(function.address)));
        // Exported first: where a name is in both tables that one says more.
        self.functions.sort_by_key(|function| (function.address, function.name, !function.exported));
        self.functions.dedup_by_key(|function| (function.address, function.name));
    }
}

impl Segment<'_> {
    fn holds(&self, address: LinkAddress) -> bool {
        address.0.checked_sub(self.address.0).is_some_and(|inside| inside < self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

    #[test]
    fn libc_defines_malloc_in_code_and_needs_the_loader() {
        if !Path::new(LIBC).exists() {
            crate::say!("skipped: no {LIBC}");
            return;
        }
        let data = std::fs::read(LIBC).unwrap();
        let binary = Binary::parse(&data).unwrap();
        let malloc = binary.functions().iter().find(|function| function.name == "malloc").unwrap();
        assert!(malloc.exported && !malloc.indirect && malloc.size > 0);
        let offset = binary.offset_of(malloc.address).unwrap();
        assert_eq!(binary.address_of(offset), Some(malloc.address));
        assert_eq!(binary.code(malloc.address).unwrap()[0], data[offset.0 as usize]);
        assert_eq!(binary.soname, Some("libc.so.6"));
        assert_eq!(binary.build_id.map(<[u8]>::len), Some(20));
        assert!(!binary.is_static());
    }

    #[test]
    fn an_ifunc_is_told_from_a_function() {
        let Ok(data) = std::fs::read(LIBC) else {
            crate::say!("skipped: no {LIBC}");
            return;
        };
        let binary = Binary::parse(&data).unwrap();
        let memcpy = binary.functions().iter().find(|function| function.name == "memcpy").unwrap();
        assert!(memcpy.indirect);
    }

    #[test]
    fn this_test_program_is_dynamic_and_imports_malloc_or_free_by_slot() {
        let data = std::fs::read("/proc/self/exe").unwrap();
        let binary = Binary::parse(&data).unwrap();
        assert!(binary.interpreter.is_some());
        assert!(binary.imports.values().any(|name| *name == "free"));
        assert!(
            !binary.functions().iter().any(|function| function.name == "free"),
            "undefined is no definition"
        );
    }

    #[test]
    fn text_and_cut_files_are_errors() {
        assert!(matches!(Binary::parse(b"#!/bin/sh\n"), Err(BinaryError::NotElf)));
        assert!(matches!(Binary::parse(&[]), Err(BinaryError::NotElf)));
        let data = std::fs::read("/proc/self/exe").unwrap();
        assert!(matches!(Binary::parse(&data[..200]), Err(BinaryError::Damaged { .. })));
        let mut narrow = data[..64].to_vec();
        narrow[4] = 1;
        assert!(matches!(Binary::parse(&narrow), Err(BinaryError::Bits32)));
    }
}
