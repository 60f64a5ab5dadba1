//! The text of a script by V8's lines and columns: UTF-16 units.

/// As V8 keeps it: mostly one byte a character.
#[derive(Debug)]
pub(super) struct Text {
    units: Units,
    /// Where each line begins.
    lines: Vec<usize>,
}

#[derive(Debug)]
enum Units {
    Ascii(Box<[u8]>),
    Wide(Box<[u16]>),
}

impl Text {
    /// Of a file as node reads it: UTF-8, a byte order mark does not count.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let units = if bytes.is_ascii() {
            Units::Ascii(bytes.into())
        } else {
            Units::Wide(String::from_utf8_lossy(bytes).encode_utf16().collect())
        };
        let mut text = Self { units, lines: vec![0] };
        for at in 0..text.len() {
            let ends = match text.unit(at) {
                0x0a | 0x2028 | 0x2029 => true,
                0x0d => text.unit(at + 1) != 0x0a,
                _ => false,
            };
            if ends {
                text.lines.push(at + 1);
            }
        }
        text
    }

    /// 0 behind the end.
    pub(super) fn unit(&self, at: usize) -> u16 {
        match &self.units {
            Units::Ascii(bytes) => bytes.get(at).copied().map_or(0, u16::from),
            Units::Wide(units) => units.get(at).copied().unwrap_or(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.units {
            Units::Ascii(bytes) => bytes.len(),
            Units::Wide(units) => units.len(),
        }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let units = match &self.units {
            Units::Ascii(bytes) => size_of_val(&**bytes),
            Units::Wide(units) => size_of_val(&**units),
        };
        units + size_of_val(&*self.lines)
    }

    /// Of a line and a column from 1, how many units stand before it. None behind the line's end.
    pub(super) fn offset(&self, (line, column): (u32, u32)) -> Option<usize> {
        let line = (line as usize).checked_sub(1)?;
        let at = self.lines.get(line)? + (column as usize).checked_sub(1)?;
        let end = self.lines.get(line + 1).copied().unwrap_or(self.len());
        (at < end).then_some(at)
    }

    /// Line and column of a place, from 1.
    pub(super) fn place(&self, at: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).map_or(0, |line| self.lines[line]);
        (line as u32, (at - start) as u32 + 1)
    }

    pub(super) fn is(&self, at: usize, wanted: &str) -> bool {
        wanted.encode_utf16().enumerate().all(|(index, unit)| self.unit(at + index) == unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_those_of_v8() {
        let text = Text::new("\u{feff}ab\r\nc\u{1f600}d\re\u{2028}f".as_bytes());
        // A character beyond the first 65,536 is two units.
        let d = text.offset((2, 4)).unwrap();
        assert!(text.is(d, "d"));
        assert_eq!(text.place(d), (2, 4));
        assert!(text.is(text.offset((1, 1)).unwrap(), "ab"));
        assert!(text.is(text.offset((3, 1)).unwrap(), "e"));
        assert!(text.is(text.offset((4, 1)).unwrap(), "f"));
        assert_eq!((text.offset((4, 2)), text.offset((5, 1)), text.offset((0, 1))), (None, None, None));
    }
}
