//! Copies of a function that a compiler made for some of its callers (`.constprop.N`, `.isra.N`): they may lack
//! arguments, and those behind move up.
//!
//! In node 18 the only callers of `Heap::PerformGarbageCollection` call a copy without the last argument. Whether a
//! copy has the arguments that are read in place is seen by its opening, which saves them for later as the original's
//! does.

use iced_x86::{Instruction, OpKind, Register};

use super::super::derive::instructions;
use crate::binary::{Binary, Function};

const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Arguments are saved by then.
const OPENING: usize = 24;

/// The name of the function that `name` is a copy of.
pub(super) fn original(name: &str) -> Option<&str> {
    name.split_once('.').map(|(original, _)| original)
}

/// Whether the first `arguments` of `copy` are those of its original.
pub(super) fn keeps_arguments(
    binary: &Binary<'_>,
    functions: &[&Function<'_>],
    original: &str,
    copy: &Function<'_>,
    arguments: u8,
) -> bool {
    let Some(original) = functions.iter().find(|function| function.name == original) else { return false };
    let saved = |function| saves(instructions(binary, function).take(OPENING), arguments);
    let of_original = saved(original);
    // An opening that saves less than all says nothing of those that it leaves.
    of_original.len() == usize::from(arguments) && of_original == saved(copy)
}

/// Which arguments are copied to where by `mov register,register`, with the copies' sizes, in order.
fn saves(code: impl Iterator<Item = Instruction>, arguments: u8) -> Vec<(usize, Register, Register)> {
    code.filter(|instruction| {
        instruction.mnemonic() == iced_x86::Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
    })
    .filter_map(|instruction| {
        let from = instruction.op1_register();
        let argument = ARGUMENTS.iter().position(|register| *register == from.full_register())?;
        (argument < usize::from(arguments)).then_some((argument, from, instruction.op0_register()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use iced_x86::{IcedError, code_asm::*};

    use super::*;

    fn assembled(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<Instruction> {
        let mut assembler = CodeAssembler::new(64).unwrap();
        write(&mut assembler).unwrap();
        assembler.take_instructions()
    }

    #[test]
    fn a_copy_without_an_argument_saves_others() {
        let original = assembled(|a| {
            a.push(rbp)?;
            a.mov(r14, rcx)?;
            a.mov(r13d, edx)?;
            a.mov(r12d, esi)?;
            a.mov(rbx, rdi)
        });
        let without_the_second = assembled(|a| {
            a.push(rbp)?;
            a.mov(r14, rdx)?;
            a.mov(r13d, esi)?;
            a.mov(rbx, rdi)
        });
        let original = saves(original.into_iter(), 3);
        assert_eq!(original.len(), 3);
        assert_ne!(original, saves(without_the_second.into_iter(), 3));
    }

    #[test]
    fn copies_are_told_by_their_suffix() {
        assert_eq!(original("_ZN1fEi.constprop.1331"), Some("_ZN1fEi"));
        assert_eq!(original("_ZN1fEi"), None);
    }
}
