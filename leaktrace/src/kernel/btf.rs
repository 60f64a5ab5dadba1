//! Offsets of members of the kernel's structures, from the types that the kernel tells about itself.
//!
//! Rust programs for BPF have no relocations by BTF, so the kernel side gets such offsets as constants. Only
//! what that needs is read here: structures and unions, by name. The format is that of
//! <https://docs.kernel.org/6.12/bpf/btf.html>; whatever does not fit it is an error, never a panic.

use std::{collections::HashMap, fs, io, ops::Range};

use thiserror::Error;

/// Where the kernel shows its types.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Bytes of the header's part that is known here; it may be longer.
const HEADER: usize = 24;
/// Bytes of a type before what its kind adds.
const TYPE: usize = 12;
/// Bytes of a member of a structure or union.
const MEMBER: usize = 12;
/// Unnamed members nest at most this deep here; the kernel's own nest three deep.
const MAX_NESTING: u32 = 16;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

#[derive(Debug, Error)]
pub enum BtfError {
    #[error(
        "cannot read {KERNEL}: the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted"
    )]
    Read(#[from] io::Error),
    #[error("{KERNEL} is not what its format says, at byte {0}")]
    Malformed(usize),
    #[error("unknown kind {0} of type in {KERNEL}: this kernel is newer than leaktrace")]
    UnknownKind(u32),
    #[error("this kernel has no {structure}.{member}")]
    NoSuchMember { structure: String, member: String },
}

/// The kernel's types, indexed.
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type starts; type 0 is `void` and has no place.
    types: Vec<usize>,
    strings: Range<usize>,
    /// Structures by name. A name may stand for several in different parts of the kernel.
    structures: HashMap<Vec<u8>, Vec<usize>>,
}

impl Btf {
    /// The types of the running kernel.
    ///
    /// # Errors
    /// If the kernel does not show them or they cannot be understood.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::parse(fs::read(KERNEL)?)
    }

    /// # Errors
    /// If `bytes` are not whole and valid.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if word(&bytes, 0)? as u16 != MAGIC {
            return Err(BtfError::Malformed(0));
        }
        let header = word(&bytes, 4)? as usize;
        if header < HEADER {
            return Err(BtfError::Malformed(4));
        }
        let section = |at: usize| -> Result<Range<usize>, BtfError> {
            let start = header + word(&bytes, at)? as usize;
            let range = start..start + word(&bytes, at + 4)? as usize;
            bytes.get(range.clone()).map(|_| range).ok_or(BtfError::Malformed(at))
        };
        let (type_section, strings) = (section(8)?, section(16)?);
        let mut types = vec![0];
        let mut structures: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        let mut at = type_section.start;
        while at < type_section.end {
            types.push(at);
            let info = Info(word(&bytes, at + 4)?);
            if info.kind() == KIND_STRUCT && info.members() > 0 {
                let name = string(&bytes, &strings, word(&bytes, at)?)?;
                structures.entry(name.to_vec()).or_default().push(at);
            }
            at += TYPE + info.extra_bytes()?;
        }
        Ok(Self { bytes, types, strings, structures })
    }

    /// Byte offset of `member` in `structure`; members of unnamed structures and unions within count as its own.
    ///
    /// # Errors
    /// If there is no such structure or member (it may have another name in this kernel).
    pub fn offset_of(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        let candidates = self.structures.get(structure.as_bytes()).map_or(&[][..], Vec::as_slice);
        for &at in candidates {
            if let Some(bits) = self.find(at, member.as_bytes(), MAX_NESTING)? {
                return Ok(bits / 8);
            }
        }
        Err(BtfError::NoSuchMember { structure: structure.into(), member: member.into() })
    }

    /// Bit offset of `member` in the structure at `at`.
    fn find(&self, at: usize, member: &[u8], nesting: u32) -> Result<Option<u32>, BtfError> {
        let info = Info(word(&self.bytes, at + 4)?);
        for index in 0..info.members() {
            let entry = at + TYPE + MEMBER * index;
            let name = string(&self.bytes, &self.strings, word(&self.bytes, entry)?)?;
            let offset = word(&self.bytes, entry + 8)?;
            // With the flag, the upper byte is the size of a bit field.
            let bits = if info.has_bit_fields() { offset & 0x00ff_ffff } else { offset };
            if name == member {
                return Ok(Some(bits));
            }
            if !name.is_empty() || nesting == 0 {
                continue;
            }
            let type_id = word(&self.bytes, entry + 4)? as usize;
            let &inner = self.types.get(type_id).ok_or(BtfError::Malformed(entry + 4))?;
            let is_compound = type_id != 0
                && matches!(Info(word(&self.bytes, inner + 4)?).kind(), KIND_STRUCT | KIND_UNION);
            if is_compound && let Some(within) = self.find(inner, member, nesting - 1)? {
                return Ok(Some(bits + within));
            }
        }
        Ok(None)
    }
}

/// The second word of a type.
#[derive(Clone, Copy)]
struct Info(u32);

impl Info {
    fn kind(self) -> u32 {
        self.0 >> 24 & 0x1f
    }

    fn members(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    fn has_bit_fields(self) -> bool {
        self.0 >> 31 != 0
    }

    /// Bytes that follow the type itself.
    fn extra_bytes(self) -> Result<usize, BtfError> {
        Ok(match self.kind() {
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            KIND_STRUCT | KIND_UNION => MEMBER * self.members(),
            // Enumeration, function prototype.
            6 | 13 => 8 * self.members(),
            // Data section, 64-bit enumeration.
            15 | 19 => 12 * self.members(),
            // Pointers, qualifiers, typedefs, forward declarations, functions, floats, type tags.
            2 | 7..=12 | 16 | 18 => 0,
            kind => return Err(BtfError::UnknownKind(kind)),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|word| u32::from_ne_bytes(*word)).ok_or(BtfError::Malformed(at))
}

fn string<'a>(bytes: &'a [u8], strings: &Range<usize>, at: u32) -> Result<&'a [u8], BtfError> {
    let start = strings.start + at as usize;
    let rest = bytes.get(start..strings.end).ok_or(BtfError::Malformed(start))?;
    rest.split(|byte| *byte == 0).next().ok_or(BtfError::Malformed(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure `outer { int a; struct { int b; }; }`, and `int`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0";
        let (int, outer, a, b) = (1u32, 5u32, 11u32, 13u32);
        let types: Vec<u32> = [
            &[int, 1 << 24, 4, 32][..],
            &[0, KIND_STRUCT << 24 | 1, 4, b, 1, 0][..],
            &[outer, KIND_STRUCT << 24 | 2, 8, a, 1, 0, 0, 2, 32][..],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let header = [u32::from(MAGIC) | 1 << 16, HEADER as u32, 0, length, length, strings.len() as u32];
        let mut bytes: Vec<u8> = header.into_iter().chain(types).flat_map(u32::to_ne_bytes).collect();
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_of_unnamed_structures_are_found_at_their_place_in_the_whole() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset_of("outer", "a").unwrap(), 0);
        assert_eq!(btf.offset_of("outer", "b").unwrap(), 4);
    }

    #[test]
    fn a_member_that_is_not_there_is_named_in_the_error() {
        let error = Btf::parse(sample()).unwrap().offset_of("outer", "c").unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no outer.c");
    }

    #[test]
    fn bytes_cut_short_or_changed_are_an_error_and_no_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            let _ = Btf::parse(whole[..length].to_vec()).map(|btf| btf.offset_of("outer", "b").is_ok());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = Btf::parse(changed).map(|btf| btf.offset_of("outer", "b").is_ok());
            }
        }
    }

    #[test]
    fn the_running_kernel_tells_where_pending_return_probes_are() {
        let Ok(btf) = Btf::of_kernel() else {
            crate::say!("skipped: this kernel shows no types");
            return;
        };
        for (structure, member) in [
            ("task_struct", "pid"),
            ("task_struct", "tgid"),
            ("task_struct", "utask"),
            ("uprobe_task", "return_instances"),
            ("return_instance", "stack"),
            ("return_instance", "orig_ret_vaddr"),
            ("return_instance", "next"),
        ] {
            btf.offset_of(structure, member).unwrap();
        }
    }
}
