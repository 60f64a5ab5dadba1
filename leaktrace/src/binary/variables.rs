//! Named data of an ELF file: constants that a library leaves for debuggers, tables, places in the code that are no
//! functions of their own.
//!
//! Apart from [`super::Binary`], since only a runtime's reader asks for it and large programs have many.

use std::{
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
};

use object::{
    elf::{PT_LOAD, STT_NOTYPE, STT_OBJECT},
    read::elf::{ProgramHeader, Sym},
};

use super::{BinaryError, LinkAddress, parse};

/// A symbol that is no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    pub address: LinkAddress,
    /// 0 where the symbol does not say.
    pub size: u64,
}

/// A segment's bytes; the rest up to `size` the loader fills with zeros.
#[derive(Debug)]
struct Segment<'data> {
    address: LinkAddress,
    size: u64,
    bytes: &'data [u8],
}

/// The data symbols of a file, by name, and what the file holds for them.
#[derive(Debug)]
pub struct Variables<'data> {
    named: BTreeMap<&'data str, Variable>,
    segments: Vec<Segment<'data>>,
}

impl<'data> Variables<'data> {
    /// Reads the data symbols of both symbol tables whose names `wanted` takes.
    ///
    /// # Errors
    /// As [`super::Binary::parse`].
    pub fn parse(data: &'data [u8], wanted: impl Fn(&str) -> bool) -> Result<Self, BinaryError> {
        let elf = parse::elf(data)?;
        let endian = elf.endian();
        let mut named = BTreeMap::new();
        for table in [elf.elf_dynamic_symbol_table(), elf.elf_symbol_table()] {
            for symbol in table.iter() {
                let kind = symbol.st_type();
                if symbol.is_undefined(endian) || (kind != STT_OBJECT && kind != STT_NOTYPE) {
                    continue;
                }
                let Ok(name) = symbol.name(endian, table.strings()) else { continue };
                let Ok(name) = std::str::from_utf8(name) else { continue };
                if wanted(name) {
                    let address = LinkAddress(symbol.st_value(endian));
                    named.entry(name).or_insert(Variable { address, size: symbol.st_size(endian) });
                }
            }
        }
        let loaded = elf.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_LOAD);
        let segments = loaded
            .map(|header| Segment {
                address: LinkAddress(header.p_vaddr(endian)),
                size: header.p_memsz(endian),
                bytes: header.data(endian, data).unwrap_or_default(),
            })
            .collect();
        Ok(Self { named, segments })
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<Variable> {
        self.named.get(name).copied()
    }

    /// All names that begin with `prefix`, in their order, which is the bytes' order.
    pub fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&'data str, Variable)> {
        self.named
            .range::<str, _>((Included(prefix), Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, variable)| (*name, *variable))
    }

    /// The file's bytes from `address` on; none where it has not so many.
    #[must_use]
    pub fn bytes(&self, address: LinkAddress, count: usize) -> Option<&'data [u8]> {
        let (segment, inside) = self.place(address)?;
        segment.bytes.get(inside..inside.checked_add(count)?)
    }

    /// The 4-byte number that is at `address` when the program starts. Zeros may not be in the file.
    #[must_use]
    pub fn number(&self, address: LinkAddress) -> Option<i32> {
        let (segment, inside) = self.place(address)?;
        match segment.bytes.get(inside..inside.checked_add(4)?) {
            Some(bytes) => Some(i32::from_le_bytes(bytes.try_into().ok()?)),
            None => (inside >= segment.bytes.len()).then_some(0),
        }
    }

    fn place(&self, address: LinkAddress) -> Option<(&Segment<'data>, usize)> {
        self.segments.iter().find_map(|segment| {
            let inside = address.0.checked_sub(segment.address.0)?;
            (inside < segment.size).then_some((segment, inside as usize))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI32;

    use super::*;

    #[used]
    static VARIABLES_TEST_SEVEN: AtomicI32 = AtomicI32::new(7);
    #[used]
    static VARIABLES_TEST_ZERO: AtomicI32 = AtomicI32::new(0);

    #[test]
    fn this_test_program_s_variables_are_read_also_where_the_file_has_no_bytes() {
        let data = std::fs::read("/proc/self/exe").unwrap();
        let variables = Variables::parse(&data, |name| name.contains("VARIABLES_TEST_")).unwrap();
        let find = |part: &str| {
            let (name, variable) =
                variables.beginning_with("").find(|(name, _)| name.contains(part)).unwrap();
            assert_eq!(variables.find(name), Some(variable));
            variable
        };
        let seven = find("VARIABLES_TEST_SEVEN");
        assert_eq!(seven.size, 4);
        assert_eq!(variables.number(seven.address), Some(7));
        assert_eq!(variables.bytes(seven.address, 4), Some(&[7, 0, 0, 0][..]));
        let zero = find("VARIABLES_TEST_ZERO");
        assert_eq!(variables.number(zero.address), Some(0));
        assert_eq!(variables.bytes(zero.address, 4), None, "the file has none of them");
    }

    #[test]
    fn an_address_outside_of_all_segments_has_nothing() {
        let data = std::fs::read("/proc/self/exe").unwrap();
        let variables = Variables::parse(&data, |_| false).unwrap();
        assert_eq!(variables.number(LinkAddress(u64::MAX - 8)), None);
        assert!(variables.beginning_with("").next().is_none());
    }
}
