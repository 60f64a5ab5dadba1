//! Source position tables: from an offset in bytecode or machine code to a place in a script.
//!
//! Each entry is two integers of variable length, differences to the entry before it:
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/codegen/source-position-table.cc>.
//! Up to V8 13 the first is a code offset whose sign says whether a statement begins; since V8 14 it is unsigned with
//! two such flags below: <https://github.com/nodejs/node/blob/v25.0.0/deps/v8/src/codegen/source-position-table.cc>.

/// A place in a script, or in one whose code was inlined:
/// <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/codegen/source-position.h>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// In UTF-16 units from the script's start.
    pub(super) fn offset(self) -> Option<u32> {
        (self.0 as u32 >> 1 & 0x3fff_ffff).checked_sub(1)
    }

    /// Which of the code's inlined calls this is in.
    pub(super) fn inlining(self) -> Option<u16> {
        ((self.0 >> 31) as u16).checked_sub(1)
    }

    /// Of V8's own C++ sources, in builtins.
    fn is_external(self) -> bool {
        self.0 & 1 == 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Before V8 14.
    Signed,
    Flags,
}

/// The position that was last set at or before `offset`.
pub(super) fn lookup(table: &[u8], encoding: Encoding, offset: u32) -> Option<Position> {
    let mut rest = table;
    // Before the first bytecode stands the function's entry, at -1.
    let mut code: i64 = -1;
    let mut source: i64 = 0;
    let mut found = None;
    while !rest.is_empty() {
        let first = unsigned(&mut rest)?;
        let step = match encoding {
            Encoding::Flags => (first >> 2) as i64,
            Encoding::Signed => match zigzag(first) {
                step @ 0.. => step,
                negative => -(negative + 1),
            },
        };
        code = code.wrapping_add(step);
        source = source.wrapping_add(zigzag(unsigned(&mut rest)?));
        if code > i64::from(offset) {
            break;
        }
        let position = Position(source as u64);
        if !position.is_external() {
            found = Some(position);
        }
    }
    found
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow. None at the table's end.
pub(super) fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = *rest.split_off_first()?;
        // What does not fit comes from a broken table.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> u64 {
        (offset + 1) << 1
    }

    fn push(table: &mut Vec<u8>, mut value: u64) {
        while value > 0x7f {
            table.push(value as u8 | 0x80);
            value >>= 7;
        }
        table.push(value as u8);
    }

    fn folded(value: i64) -> u64 {
        (value << 1 ^ value >> 63) as u64
    }

    /// The function's entry, then places 100, 40 and 2000 at bytecodes 0, 3 and 300; the second is no statement.
    fn table(encoding: Encoding) -> Vec<u8> {
        let mut table = Vec::new();
        let steps =
            [(0, at(10), true), (1, at(100) - at(10), true), (3, 0, false), (297, at(2000) - at(40), true)];
        for (step, source, statement) in steps {
            let source = if statement { source as i64 } else { at(40) as i64 - at(100) as i64 };
            match encoding {
                Encoding::Flags => push(&mut table, (step as u64) << 2 | u64::from(statement)),
                Encoding::Signed => push(&mut table, folded(if statement { step } else { -step - 1 })),
            }
            push(&mut table, folded(source));
        }
        table
    }

    #[test]
    fn both_encodings_give_the_last_place_at_or_before_an_offset() {
        for encoding in [Encoding::Signed, Encoding::Flags] {
            let table = table(encoding);
            let place = |offset| lookup(&table, encoding, offset).unwrap().offset();
            assert_eq!([0, 2, 3, 299, 300, 9000].map(place), [100, 100, 40, 40, 2000, 2000].map(Some));
        }
    }

    #[test]
    fn a_table_that_is_cut_short_or_endless_is_no_harm() {
        assert_eq!(lookup(&[0x80], Encoding::Signed, 9), None);
        assert_eq!(lookup(&[0xff; 4096], Encoding::Flags, 9), None);
        assert_eq!(lookup(&[], Encoding::Flags, 9), None);
    }

    #[test]
    fn a_position_says_which_inlined_call_it_is_of() {
        let position = Position(3 << 31 | at(77));
        assert_eq!((position.offset(), position.inlining()), (Some(77), Some(2)));
        assert_eq!(Position(at(77)).inlining(), None);
        assert_eq!(Position(0).offset(), None);
    }
}
