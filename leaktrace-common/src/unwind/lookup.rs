//! From an address to its rule: mapping, page, row, rule.
//!
//! The searches are free of branches: a branch in each of a search's 14 steps doubles the paths that the
//! verifier follows, to far over its million of instructions.

use super::table::{
    Kind, MAPPING_WORDS, MAX_PAGE_ROWS, MappingEntry, PAGE_BITS, PAGE_WORDS, ProcessTable, RULE_WORDS, Ref,
    Row, Rule,
};
use crate::stack::StopReason;

/// Access to the arena's words.
pub trait Arena: Copy {
    /// A chunk, found once and read often.
    type Chunk: Copy;

    /// The chunk of a reference, if there is one.
    fn chunk(self, place: Ref) -> Option<Self::Chunk>;

    /// A word of a chunk; the index wraps at its end.
    fn word(chunk: Self::Chunk, index: u32) -> u32;

    /// Two words from an even index on.
    #[inline(always)]
    fn double(chunk: Self::Chunk, index: u32) -> u64 {
        u64::from(Self::word(chunk, index)) | u64::from(Self::word(chunk, index + 1)) << 32
    }

    /// All ones where `a <= b`, else 0, without a branch; both are below 2^63.
    #[inline(always)]
    fn at_most(a: u64, b: u64) -> u32 {
        !((b.wrapping_sub(a) as i64 >> 63) as u32)
    }
}

/// Finds the mapping of `pc`, first in `last`, which is then what was found.
#[inline(always)]
pub fn find_mapping<A: Arena>(arena: A, table: &ProcessTable, last: &mut MappingEntry, pc: u64) -> bool {
    if pc.wrapping_sub(last.start) < last.end.wrapping_sub(last.start) {
        return true;
    }
    let Some(chunk) = arena.chunk(table.mappings) else { return false };
    let base = table.mappings.word();
    let count = u64::from(table.count);
    let mut index = 0u32;
    let mut step = 1u32 << 11;
    while step != 0 {
        let next = index + step;
        let start = A::double(chunk, base + (next & 0xfff) * MAPPING_WORDS);
        index += step & A::at_most(start, pc) & A::at_most(u64::from(next) + 1, count);
        step >>= 1;
    }
    let entry = base + (index & 0xfff) * MAPPING_WORDS;
    let start = A::double(chunk, entry);
    let end = A::double(chunk, entry + 2);
    if pc < start || pc >= end {
        return false;
    }
    last.start = start;
    last.end = end;
    last.bias = A::double(chunk, entry + 4);
    last.page_table = Ref(A::word(chunk, entry + 6));
    last.first_page = A::word(chunk, entry + 7);
    last.pages = A::word(chunk, entry + 8);
    last.rules = Ref(A::word(chunk, entry + 9));
    last.flags = A::word(chunk, entry + 10);
    true
}

/// The index of the last of `count` rows from `base` on whose offset is at most `offset`.
#[inline(always)]
pub fn find_row<A: Arena>(chunk: A::Chunk, base: u32, count: u32, offset: u32) -> u32 {
    let key = u64::from(offset << 16 | 0xffff);
    let mut index = 0u32;
    let mut step = (MAX_PAGE_ROWS as u32 + 1) >> 1;
    while step != 0 {
        let next = index + step;
        let row = u64::from(A::word(chunk, base + next));
        index += step & A::at_most(row, key) & A::at_most(u64::from(next) + 1, u64::from(count));
        step >>= 1;
    }
    index
}

/// The rule of the binary's tables for `pc`, which lies in `mapping`.
#[inline(always)]
fn find_rule<A: Arena>(arena: A, mapping: &MappingEntry, pc: u64) -> Rule {
    let address = pc.wrapping_sub(mapping.bias);
    let page = ((address >> PAGE_BITS) as u32).wrapping_sub(mapping.first_page);
    if page >= mapping.pages {
        return Rule::NONE;
    }
    let Some(table) = arena.chunk(mapping.page_table) else { return Rule::NONE };
    let entry = mapping.page_table.word() + page * PAGE_WORDS;
    let (rows, count) = (Ref(A::word(table, entry)), A::word(table, entry + 1));
    let Some(chunk) = arena.chunk(rows) else { return Rule::NONE };
    let index = find_row::<A>(chunk, rows.word(), count, (address & 0xffff) as u32);
    let number = Row(A::word(chunk, rows.word() + index)).rule();
    let Some(rules) = arena.chunk(mapping.rules) else { return Rule::NONE };
    let at = mapping.rules.word() + number * RULE_WORDS;
    Rule::from_words(
        A::word(rules, at),
        A::word(rules, at + 1),
        A::word(rules, at + 2),
        A::word(rules, at + 3),
    )
}

/// The rule for `pc`, or why there is none.
#[inline(always)]
pub fn rule_at<A: Arena>(
    arena: A,
    table: &ProcessTable,
    last: &mut MappingEntry,
    pc: u64,
) -> Result<Rule, StopReason> {
    if !find_mapping(arena, table, last, pc) {
        // Code that was mapped since the last look: in a process with a JIT most likely the JIT's.
        if table.flags & ProcessTable::HAS_JIT == 0 {
            return Err(StopReason::UnknownCode);
        }
        return Ok(Rule::GUESS);
    }
    if last.flags & MappingEntry::UNREAD != 0 {
        return Ok(Rule::GUESS);
    }
    if last.flags & MappingEntry::NO_TABLES != 0 {
        return Ok(Rule::CHAIN);
    }
    let rule = find_rule(arena, last, pc);
    if rule.kind() == Kind::None as u32 {
        if last.flags & MappingEntry::CHAIN_IN_HOLES == 0 {
            return Err(StopReason::NoUnwindInfo);
        }
        return Ok(Rule::CHAIN);
    }
    Ok(rule)
}
