//! Perf maps: what a runtime writes down about the code that it makes, a line `START SIZE NAME` each, addresses in
//! hex. <https://github.com/torvalds/linux/blob/v6.12/tools/perf/Documentation/jit-interface.txt>
//!
//! The file grows while the process runs, so it is read on from where it was left, whole lines only. A function
//! ends every older one that it overlaps: runtimes use their memory again.
//! blazesym reads these too, but only through a live process and only files without a broken line.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// More than node writes in a week; what is beyond it stays unnamed rather than fill the memory.
const MAX_BYTES: u64 = 512 << 20;

#[derive(Debug)]
struct Function {
    end: u64,
    name: String,
}

#[derive(Debug)]
pub(super) struct PerfMap<R> {
    file: io::Take<R>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    functions: BTreeMap<u64, Function>,
}

impl<R: Read> PerfMap<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file: file.take(MAX_BYTES), rest: Vec::new(), functions: BTreeMap::new() }
    }

    /// Reads what was written since.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.rest);
        let read = self.file.read_to_end(&mut bytes);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = bytes.split_off(whole);
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((start, function)) = parse(line) {
                self.insert(start, function);
            }
        }
        read.map(|_| ())
    }

    pub(super) fn name(&self, address: u64) -> Option<&str> {
        let (_, function) = self.functions.range(..=address).next_back()?;
        (address < function.end).then_some(&function.name)
    }

    fn insert(&mut self, start: u64, function: Function) {
        let before = self.functions.range(..start).next_back().map(|(start, old)| (*start, old.end));
        if let Some((old, end)) = before.filter(|(_, end)| *end > start) {
            debug_assert!(old < end);
            self.functions.remove(&old);
        }
        let covered: Vec<u64> = self.functions.range(start..function.end).map(|(start, _)| *start).collect();
        for old in covered {
            self.functions.remove(&old);
        }
        self.functions.insert(start, function);
    }
}

fn parse(line: &str) -> Option<(u64, Function)> {
    let mut parts = line.splitn(3, ' ');
    let mut hex = || u64::from_str_radix(parts.next()?.trim_start_matches("0x"), 16).ok();
    let (start, size) = (hex()?, hex()?);
    let name = parts.next()?.trim();
    let end = start.checked_add(size).filter(|end| *end > start)?;
    (!name.is_empty()).then(|| (start, Function { end, name: name.to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, rc::Rc};

    use super::*;

    /// A file that grows between reads.
    #[derive(Clone, Default)]
    struct Growing(Rc<RefCell<VecDeque<u8>>>);

    impl Growing {
        fn write(&self, text: &str) {
            self.0.borrow_mut().extend(text.bytes());
        }
    }

    impl Read for Growing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.borrow_mut().read(out)
        }
    }

    #[test]
    fn a_map_is_read_on_as_it_grows_and_half_a_line_waits() {
        let file = Growing::default();
        let mut map = PerfMap::new(file.clone());
        file.write("1000 20 JS:~first /srv/app.js:1:1\n2000 1");
        map.refresh().unwrap();
        assert_eq!(map.name(0x101f), Some("JS:~first /srv/app.js:1:1"));
        assert_eq!(map.name(0x1020), None);
        assert_eq!(map.name(0x2000), None);
        file.write("0 second\n");
        map.refresh().unwrap();
        assert_eq!(map.name(0x200f), Some("second"));
    }

    #[test]
    fn code_that_took_the_place_of_other_code_has_its_name() {
        let file = Growing::default();
        file.write("1000 100 old\n1080 10 new\n2000 10 a\n2010 10 b\n2000 20 both\n");
        let mut map = PerfMap::new(file);
        map.refresh().unwrap();
        assert_eq!(map.name(0x1085), Some("new"));
        assert_eq!(map.name(0x1000), None);
        assert_eq!(map.name(0x2018), Some("both"));
    }

    #[test]
    fn broken_lines_are_skipped() {
        let file = Growing::default();
        file.write("nonsense\n\n10\nffffffffffffffff 10 wraps\n1000 0 empty\n1000 10 \n0x3000 0x10 kept\n");
        let mut map = PerfMap::new(file);
        map.refresh().unwrap();
        assert_eq!(map.functions.len(), 1);
        assert_eq!(map.name(0x3000), Some("kept"));
    }
}
