//! Rows cut by pages of code, as the arena holds them.

use leaktrace_common::unwind::{MAX_PAGE_ROWS, MAX_RULES, PAGE_BITS, Row, Rule, Why};

use super::rows::Rows;

/// A binary's tables, ready to be placed.
pub struct Pages {
    /// Number of the first page: an address shifted by [`PAGE_BITS`].
    pub first: u32,
    /// Page by page the number of its rows.
    pub counts: Vec<u32>,
    /// All pages' rows, one after the other.
    pub rows: Vec<u32>,
    pub rules: Vec<Rule>,
}

impl Pages {
    /// Every page starts with a row at its offset 0, so that a search never leaves it.
    #[must_use]
    pub fn cut(rows: &Rows) -> Self {
        let mut rules = rows.rules.clone();
        let number = |address: u64| (address >> PAGE_BITS) as u32;
        let [first, last] =
            [rows.rows.first(), rows.rows.last()].map(|row| row.map_or(0, |row| number(row.address)));
        let mut pages = Self {
            first,
            counts: Vec::with_capacity((last - first + 1) as usize),
            rows: Vec::with_capacity(rows.rows.len() + (last - first + 1) as usize),
            rules: Vec::new(),
        };
        let mut left = rows.rows.iter().peekable();
        let mut rule = 0;
        for page in first..=last {
            let start = pages.rows.len();
            let begins = u64::from(page) << PAGE_BITS;
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
        pages
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
        let pages = Pages::cut(&rows(&[(0x1_8000, 1), (0x3_0000, 0), (0x3_0010, 1), (0x3_0020, 0)]));
        assert_eq!(pages.first, 1);
        assert_eq!(pages.counts, [2, 1, 3]);
        let row = |offset, rule| Row::new(offset, rule).0;
        assert_eq!(pages.rows, [row(0, 0), row(0x8000, 1), row(0, 1), row(0, 0), row(0x10, 1), row(0x20, 0)]);
    }

    #[test]
    fn a_page_with_more_rows_than_the_search_reaches_is_marked_not_cut_short() {
        let mut many: Vec<_> = (0..9000u64).map(|row| (row * 4, (row % 2) as u16)).collect();
        many.push((0x1_0000, 0));
        let pages = Pages::cut(&rows(&many));
        assert_eq!(pages.counts, [1, 1]);
        assert_eq!(pages.rules[(pages.rows[0] & 0xffff) as usize], Rule::unsupported(Why::TooMany));
    }
}
