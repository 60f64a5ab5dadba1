//! Where the lines of a script end.
//!
//! As `String::CalculateLineEnds` and `Script::GetPositionInfo` count them:
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/string.cc>,
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/objects.cc>.

use super::{
    NotRead,
    object::{Heap, Tagged, smi},
    string,
};
use crate::process::ReadUser;

/// A larger source is not searched for its lines: bundles of whole programs have some MiB.
pub(super) const MAX_SOURCE: u32 = 64 << 20;

/// Lines of one script; 16 MiB in our memory. Of sources written by people the largest have some hundred thousand.
const MAX_LINES: usize = 4 << 20;

/// Positions, in UTF-16 units from the script's start, of what ends each line; the script's length ends the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    ends: Box<[u32]>,
}

impl Lines {
    /// What V8 has worked out already: an array of small integers, made when an error's stack is first asked for.
    pub(super) fn of_array<M: ReadUser>(heap: Heap<'_, M>, array: Tagged) -> Option<Self> {
        let length = heap.array_length(array, MAX_LINES)?;
        let bytes = heap.bytes(heap.element(array, 0), length * 8)?;
        let ends: Option<Box<[u32]>> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::try_from(smi(u64::from_le_bytes(*word))?).ok())
            .collect();
        let ends = ends.filter(|ends| !ends.is_empty() && ends.is_sorted())?;
        Some(Self { ends })
    }

    pub(super) fn of_source<M: ReadUser>(heap: Heap<'_, M>, source: Tagged) -> Result<Self, NotRead> {
        if string::length(heap, source)? > MAX_SOURCE {
            return Err(NotRead::SourceTooLarge);
        }
        let mut search = Search::default();
        string::each_chunk(heap, source, |chunk| search.feed(chunk))?;
        search.finish()
    }

    /// Line and column of a position, both from 1.
    pub(super) fn locate(&self, position: u32) -> Option<(u32, u32)> {
        let line = self.ends.partition_point(|end| *end < position);
        // Behind the script's end: not a position of this script.
        self.ends.get(line)?;
        let start = line.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        Some((line as u32 + 1, position - start + 1))
    }

    pub(super) fn bytes(&self) -> usize {
        self.ends.len() * size_of::<u32>()
    }
}

/// Goes through a source in chunks.
#[derive(Debug, Default)]
struct Search {
    ends: Vec<u32>,
    position: u32,
    after_return: bool,
}

impl Search {
    fn feed(&mut self, chunk: &[u16]) {
        for unit in chunk {
            let newline = *unit == 0x0a;
            // A return ends a line, unless the newline behind it does.
            if self.after_return && !newline {
                self.ends.push(self.position - 1);
            }
            self.after_return = *unit == 0x0d;
            if newline || matches!(unit, 0x2028 | 0x2029) {
                self.ends.push(self.position);
            }
            self.position += 1;
            if self.ends.len() > MAX_LINES {
                return;
            }
        }
    }

    fn finish(mut self) -> Result<Lines, NotRead> {
        if self.after_return {
            self.ends.push(self.position - 1);
        }
        if self.ends.len() > MAX_LINES {
            return Err(NotRead::SourceTooLarge);
        }
        self.ends.push(self.position);
        Ok(Lines { ends: self.ends.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut search = Search::default();
        // In chunks of one, so that every pair is cut.
        units.iter().for_each(|unit| search.feed(&[*unit]));
        search.finish().unwrap()
    }

    #[test]
    fn every_way_to_end_a_line_counts_once() {
        assert_eq!(*lines("a\nb\r\nc\rd\u{2028}e\u{2029}f").ends, [1, 4, 6, 8, 10, 12]);
        assert_eq!(*lines("\r").ends, [0, 1]);
        assert_eq!(*lines("").ends, [0]);
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let lines = lines("ab\ncd\n");
        assert_eq!(lines.locate(0), Some((1, 1)));
        assert_eq!(lines.locate(2), Some((1, 3)));
        assert_eq!(lines.locate(3), Some((2, 1)));
        assert_eq!(lines.locate(6), Some((3, 1)));
        assert_eq!(lines.locate(7), None);
    }
}
