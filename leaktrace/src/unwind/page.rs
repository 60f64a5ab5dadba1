//! Rows cut by pages of code, as the arena holds them.

use leaktrace_common::unwind::{
    CHUNK_WORDS, MAX_PAGE_ROWS, MAX_RULES, PAGE_BITS, PAGE_WORDS, Row, Rule, Why,
};

use super::rows::{Rows, RowsError};

/// The most pages of a binary, 2 GiB of code: as many as a page table in one chunk has room for.
const MAX_PAGES: u64 = CHUNK_WORDS as u64 / PAGE_WORDS as u64;

/// A binary's tables, ready to be placed.
pub struct Pages {
    /// Number of the first page: an address shifted by [`PAGE_BITS`], its low 32 bits, which is what walks compare.
    pub first: u32,
    /// Page by page the number of its rows.
    pub counts: Vec<u32>,
    /// All pages' rows, one after the other.
    pub rows: Vec<u32>,
    pub rules: Vec<Rule>,
}

impl Pages {
    /// Every page starts with a row at its offset 0, so that a search never leaves it.
    ///
    /// # Errors
    /// If the code is spread over more pages than a page table has room for.
    pub fn cut(rows: &Rows) -> Result<Self, RowsError> {
        let mut rules = rows.rules.clone();
        let number = |address: u64| address >> PAGE_BITS;
        let [first, last] =
            [rows.rows.first(), rows.rows.last()].map(|row| row.map_or(0, |row| number(row.address)));
        let count = last - first + 1;
        if count > MAX_PAGES {
            return Err(RowsError::TooWide(count));
        }
        let mut pages = Self {
            first: first as u32,
            counts: Vec::with_capacity(count as usize),
            rows: Vec::with_capacity(rows.rows.len() + count as usize),
            rules: Vec::new(),
        };
        let mut left = rows.rows.iter().peekable();
        let mut rule = 0;
        for page in first..=last {
            let start = pages.rows.len();
            let begins = page << PAGE_BITS;
            if left.peek().is_none_or(|row| row.address != begins) {
                pages.rows.push(Row::new(0, rule).0);
            }
            while let Some(row) = left.next_if(|row| number(row.address) == page) {
                pages.rows.push(Row::new(row.address as u16, row.rule).0);
                rule = row.rule;
            }
            if pages.rows.len() - start > MAX_PAGE_ROWS {
                pages.rows.truncate(start);
                pages.rows.push(Row::new(0, too_many(&mut rules)).0);
            }
            pages.counts.push((pages.rows.len() - start) as u32);
        }
        pages.rules = rules;
        Ok(pages)
    }

    /// Bytes in the arena.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.rows.len() + 2 * self.counts.len() + 4 * self.rules.len())
    }
}

/// The number of the rule that says that a page has too many rows.
fn too_many(rules: &mut Vec<Rule>) -> u16 {
    let rule = Rule::unsupported(Why::TooMany);
    let number = rules.iter().position(|known| *known == rule).unwrap_or_else(|| {
        // Reading rows leaves one place for this rule.
        assert!(rules.len() < MAX_RULES, "more rules than a chunk holds");
        rules.push(rule);
        rules.len() - 1
    });
    number as u16
}

#[cfg(test)]
mod tests {
    use leaktrace_common::unwind::Kind;

    use super::*;
    use crate::unwind::{rows::AddressRow, rule::Machine};

    fn rows(rows: &[(u64, u16)]) -> Rows {
        Rows {
            machine: Machine::X86_64,
            rows: rows.iter().map(|&(address, rule)| AddressRow { address, rule }).collect(),
            rules: vec![Rule::NONE, Rule::of(Kind::End)],
            malformed: 0,
        }
    }

    #[test]
    fn every_page_starts_with_a_row_at_its_first_byte() {
        let pages = Pages::cut(&rows(&[(0x1_8000, 1), (0x3_0000, 0), (0x3_0010, 1), (0x3_0020, 0)])).unwrap();
        assert_eq!(pages.first, 1);
        assert_eq!(pages.counts, [2, 1, 3]);
        let row = |offset, rule| Row::new(offset, rule).0;
        assert_eq!(pages.rows, [row(0, 0), row(0x8000, 1), row(0, 1), row(0, 0), row(0x10, 1), row(0x20, 0)]);
    }

    #[test]
    fn code_spread_over_more_pages_than_a_table_holds_is_refused_not_allocated() {
        for last in [MAX_PAGES << PAGE_BITS, 1 << 40, u64::MAX] {
            assert!(
                matches!(Pages::cut(&rows(&[(0, 1), (last, 0)])), Err(RowsError::TooWide(_))),
                "{last:#x}"
            );
        }
        let widest = Pages::cut(&rows(&[(0, 1), ((MAX_PAGES << PAGE_BITS) - 1, 0)])).unwrap();
        assert_eq!(widest.counts.len() as u64, MAX_PAGES);
        // The numbers of pages wrap at 2^32, as those of a walk do.
        let high = Pages::cut(&rows(&[(0xffff_ffff_ffff_0000, 1), (u64::MAX, 0)])).unwrap();
        assert_eq!((high.first, high.counts), (u32::MAX, vec![2]));
    }

    #[test]
    fn a_page_with_more_rows_than_the_search_reaches_is_marked_not_cut_short() {
        let mut many: Vec<_> = (0..17_000u64).map(|row| (row * 3, (row % 2) as u16)).collect();
        many.push((0x1_0000, 0));
        let pages = Pages::cut(&rows(&many)).unwrap();
        assert_eq!(pages.counts, [1, 1]);
        assert_eq!(pages.rules[(pages.rows[0] & 0xffff) as usize], Rule::unsupported(Why::TooMany));
    }
}
