//! What linkers and compilers put between functions so that each starts at a multiple of 16 or so. Nothing runs there,
//! and "nothing known" between any two functions would be every seventh row of node's.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::{Object, ObjectSegment, ReadRef};

use super::{rule::Machine, segment};

/// Padding is shorter than what functions are aligned to.
const MOST: u64 = 64;
/// aarch64's `nop`.
const NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();

/// The bytes of a binary's code.
pub struct Code<'d> {
    machine: Machine,
    /// Address of the first, and all.
    parts: Vec<(u64, &'d [u8])>,
}

impl<'d> Code<'d> {
    /// What cannot be read is no padding.
    #[must_use]
    pub fn of<R: ReadRef<'d>>(file: &object::File<'d, R>, machine: Machine) -> Self {
        let parts = file
            .segments()
            .filter(|part| segment::is_code(part.flags()))
            .filter_map(|part| Some((part.address(), part.data().ok()?)))
            .collect();
        Self { machine, parts }
    }

    /// Whether there is nothing but padding from one address up to another.
    #[must_use]
    pub fn is_padding(&self, from: u64, to: u64) -> bool {
        if to - from >= MOST {
            return false;
        }
        let within = |(start, bytes): &(u64, &'d [u8])| {
            let first = usize::try_from(from.checked_sub(*start)?).ok()?;
            bytes.get(first..first.checked_add((to - from) as usize)?)
        };
        self.parts.iter().find_map(within).is_some_and(|bytes| does_nothing(self.machine, bytes))
    }
}

/// Instructions that do nothing or trap, or zeros.
fn does_nothing(machine: Machine, bytes: &[u8]) -> bool {
    if bytes.iter().all(|byte| *byte == 0) {
        return true;
    }
    match machine {
        Machine::X86_64 => Decoder::new(64, bytes, DecoderOptions::NONE)
            .iter()
            .all(|instruction| matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)),
        Machine::Aarch64 => bytes.chunks(4).all(|word| word == NOP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Code<'_> {
        Code { machine: Machine::X86_64, parts: vec![(0x1000, bytes)] }
    }

    #[test]
    fn what_compilers_put_between_functions_is_padding() {
        for bytes in [
            // gcc's longest, clang's, lld's, and what is left of a page.
            &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90][..],
            &[0x0f, 0x1f, 0x44, 0, 0, 0x90],
            &[0xcc; 15],
            &[0; 9],
        ] {
            assert!(code(bytes).is_padding(0x1000, 0x1000 + bytes.len() as u64), "{bytes:x?}");
        }
    }

    #[test]
    fn a_function_without_call_frame_information_is_not() {
        // push rbx; call; pop rbx; ret
        assert!(!code(&[0x53, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3]).is_padding(0x1000, 0x1008));
        // A call cut off by the next function.
        assert!(!code(&[0x90, 0xe8, 0, 0]).is_padding(0x1000, 0x1004));
    }

    #[test]
    fn nor_is_what_is_long_or_not_in_the_file() {
        let bytes = [0x90; 80];
        assert!(code(&bytes).is_padding(0x1000, 0x103f));
        assert!(!code(&bytes).is_padding(0x1000, 0x1040));
        assert!(!code(&bytes).is_padding(0x0fff, 0x1004));
        assert!(!code(&bytes).is_padding(0x1048, 0x1058));
    }

    #[test]
    fn on_aarch64_only_its_nop_is() {
        assert!(does_nothing(Machine::Aarch64, &[NOP, NOP].concat()));
        assert!(!does_nothing(Machine::Aarch64, &[NOP, [0xc0, 0x03, 0x5f, 0xd6]].concat()));
    }
}
