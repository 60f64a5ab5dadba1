//! From baseline (Sparkplug) code back to the bytecode that it was made of.
//!
//! Baseline code keeps, for the prologue and then for each bytecode in order, how many bytes of machine code it became:
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/baseline/bytecode-offset-iterator.h>.

use super::positions::unsigned;

/// `Wide` and `ExtraWide`, and the same while a debugger has a break there: what follows has operands of 2 or 4 bytes.
/// <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/interpreter/bytecodes.h>
const WIDE: [u8; 2] = [0, 2];
const EXTRA_WIDE: [u8; 2] = [1, 3];

/// Offset of the bytecode whose machine code holds the call that returns `pc` bytes from the code's start. `sizes` are
/// the lengths of bytecodes for operands of 1, 2 and 4 bytes in turn.
pub(super) fn bytecode_offset(mut table: &[u8], bytecodes: &[u8], sizes: &[u8], pc: u64) -> Option<u32> {
    // The prologue: there is no bytecode yet, the function's entry is nearest to the first.
    let mut end = unsigned(&mut table)?;
    let mut offset = 0;
    if end >= pc {
        return Some(0);
    }
    loop {
        end = end.checked_add(unsigned(&mut table)?)?;
        if end >= pc {
            return u32::try_from(offset).ok();
        }
        offset += length(bytecodes.get(offset..)?, sizes)?;
    }
}

fn length(bytecodes: &[u8], sizes: &[u8]) -> Option<usize> {
    let kinds = sizes.len() / 3;
    let first = *bytecodes.first()?;
    let (prefix, scale) = match first {
        _ if WIDE.contains(&first) => (1, 1),
        _ if EXTRA_WIDE.contains(&first) => (1, 2),
        _ => (0, 0),
    };
    let bytecode = usize::from(*bytecodes.get(prefix)?);
    let size = *sizes.get(scale * kinds + bytecode)?;
    // Of length 0 would be none, and the walk would not end.
    (bytecode < kinds && size > 0).then_some(prefix + usize::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytecodes 4 and 5 have 1 and 2 operands.
    const SIZES: [u8; 18] = [1, 1, 1, 1, 2, 3, 1, 1, 1, 1, 3, 5, 1, 1, 1, 1, 5, 9];

    #[test]
    fn a_return_address_is_of_the_bytecode_whose_code_ends_there_or_later() {
        let bytecodes = [4, 0, 0, 5, 0, 0, 0, 0, 4, 0];
        let table = [10, 5, 7, 3];
        let at = |pc| bytecode_offset(&table, &bytecodes, &SIZES, pc);
        assert_eq!([5, 10, 11, 15, 16, 22, 23, 25].map(at), [0, 0, 0, 0, 2, 2, 8, 8].map(Some));
        assert_eq!(at(26), None);
    }

    #[test]
    fn broken_bytecode_ends_the_walk() {
        assert_eq!(bytecode_offset(&[1; 9], &[200; 9], &SIZES, 9), None);
        assert_eq!(bytecode_offset(&[1; 9], &[4], &SIZES, 9), None);
        assert_eq!(bytecode_offset(&[0; 9], &[0; 9], &[], 9), None);
    }
}
