//! A binary's tables in the arena.

use std::time::Duration;

use leaktrace_common::unwind::{MappingEntry, Ref};
use zerocopy::{Immutable, IntoBytes};

use crate::unwind::{
    arena::{Arena, ArenaError, Chunks, Span},
    mapping::CodeMapping,
    page::Pages,
    segment::{self, Segment},
};

/// Where they are, and who uses them.
pub(super) struct Loaded {
    pub(super) spans: Vec<Span>,
    page_table: Ref,
    first_page: u32,
    pages: u32,
    rules: Ref,
    segments: Vec<Segment>,
    flags: u32,
    /// Processes that have it mapped.
    pub(super) users: usize,
    /// When the last of them was gone.
    pub(super) unused_since: Duration,
}

/// Words of rows that are placed together: a quarter of a chunk.
const GROUP_WORDS: u32 = 1 << 14;

impl Loaded {
    /// Writes a binary's tables into the arena, if it has any. On failure nothing of them stays there.
    pub(super) fn place<C: Chunks>(
        arena: &mut Arena<C>,
        segments: Vec<Segment>,
        flags: u32,
        pages: Option<&Pages>,
        now: Duration,
    ) -> Result<Self, ArenaError> {
        let mut loaded = Self {
            spans: Vec::new(),
            page_table: Ref::default(),
            first_page: 0,
            pages: 0,
            rules: Ref::default(),
            segments,
            flags,
            users: 0,
            unused_since: now,
        };
        let Some(pages) = pages else {
            loaded.flags |= MappingEntry::NO_TABLES;
            return Ok(loaded);
        };
        match loaded.write(arena, pages) {
            Ok(()) => Ok(loaded),
            Err(error) => {
                for span in loaded.spans {
                    arena.give_up(span, now);
                }
                Err(error)
            }
        }
    }

    /// Rows, rules, page table.
    fn write<C: Chunks>(&mut self, arena: &mut Arena<C>, pages: &Pages) -> Result<(), ArenaError> {
        let mut table = Vec::with_capacity(pages.counts.len() * 2);
        let mut rest = &pages.rows[..];
        let mut counts = pages.counts.iter().copied().peekable();
        while counts.peek().is_some() {
            // As many pages together as fit a part of a chunk: less to keep account of.
            let mut group = Vec::new();
            let mut words = 0;
            while let Some(count) = counts.next_if(|count| words == 0 || words + count <= GROUP_WORDS) {
                group.push((words, count));
                words += count;
            }
            let (rows, others) = rest.split_at(words as usize);
            rest = others;
            let span = arena.place(rows)?;
            let Ref(place) = span.place();
            table.extend(group.into_iter().flat_map(|(start, count)| [place + start, count]));
            self.spans.push(span);
        }
        let rules = arena.place(&words_of(&pages.rules))?;
        self.rules = rules.place();
        self.spans.push(rules);
        let page_table = arena.place(&table)?;
        self.page_table = page_table.place();
        self.spans.push(page_table);
        self.first_page = pages.first;
        self.pages = pages.counts.len() as u32;
        Ok(())
    }

    /// For a mapping of it; none where that holds no code of it.
    pub(super) fn entry(&self, mapping: &CodeMapping) -> Option<MappingEntry> {
        let CodeMapping { start, end, offset, .. } = *mapping;
        Some(MappingEntry {
            start,
            end,
            bias: segment::bias(&self.segments, start, offset, end - start)?,
            page_table: self.page_table,
            first_page: self.first_page,
            pages: self.pages,
            rules: self.rules,
            flags: self.flags,
            padding: 0,
        })
    }
}

/// The words of plain records.
pub(super) fn words_of<T: IntoBytes + Immutable>(records: &[T]) -> Vec<u32> {
    records.as_bytes().as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}
