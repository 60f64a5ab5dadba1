//! All call frame information of a binary, as rows: from this address on, this rule.

use std::{borrow::Cow, collections::HashMap, io};

use gimli::{
    BaseAddresses, CieOrFde, CommonInformationEntry, DebugFrame, EhFrame, LittleEndian, UnwindContext,
    UnwindOffset, UnwindSection, Vendor,
};
use leaktrace_common::unwind::{Kind, MAX_RULES, Rule, Why};
use object::{Architecture, Object, ObjectSection, ReadRef};
use thiserror::Error;

use super::{
    padding::{Code, Source},
    rule::{Bytes, Entry, Machine},
    segment::{self, Segment},
};

#[derive(Debug, Error)]
pub enum RowsError {
    #[error("cannot open: {0}")]
    Open(#[from] io::Error),
    #[error("not a valid ELF file: {0}")]
    Elf(#[from] object::Error),
    #[error("code for {0:?}, which leaktrace cannot unwind")]
    Machine(Architecture),
    #[error("no call frame information")]
    None,
    /// No compiler makes these: the file is damaged, or made to exhaust the agent.
    #[error("{section} of {bytes} bytes, more than any known binary has")]
    TooLarge { section: &'static str, bytes: u64 },
    #[error("more than {MAX_ROWS} places where unwind rules change")]
    TooMany,
    #[error("code over {0} pages of 64 KiB, more than tables can hold")]
    TooWide(u64),
}

/// The most bytes of a section that is read: a debug build of clang has a tenth.
const MAX_SECTION: u64 = 256 << 20;
/// The most rows of a file, 40 times node's.
const MAX_ROWS: usize = 1 << 24;
/// The most bytes of an entry that others share: its instructions are followed once for each of them.
const MAX_COMMON: usize = 4096;

/// From `address` of the binary on, rule number `rule` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRow {
    pub address: u64,
    pub rule: u16,
}

/// Sorted by address; rule 0 is "nothing known", and the last row has it.
pub struct Rows {
    pub machine: Machine,
    pub rows: Vec<AddressRow>,
    pub rules: Vec<Rule>,
    /// Entries that could not be read and were left out: the file is damaged, or newer than gimli.
    pub malformed: usize,
}

/// Reads `.eh_frame`, and `.debug_frame` for code that the former leaves out. `source` has the bytes of `file`.
///
/// # Errors
/// If the file has neither, or is none that can be read.
pub fn read<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, source: &dyn Source) -> Result<Rows, RowsError> {
    let machine = match file.architecture() {
        Architecture::X86_64 => Machine::X86_64,
        Architecture::Aarch64 => Machine::Aarch64,
        other => return Err(RowsError::Machine(other)),
    };
    let code = segment::executable(file);
    let mut reader = Reader::new(machine, &code);
    let mut bases = BaseAddresses::default();
    for (name, set) in [
        (".text", BaseAddresses::set_text as fn(BaseAddresses, u64) -> BaseAddresses),
        (".got", BaseAddresses::set_got),
        (".eh_frame", BaseAddresses::set_eh_frame),
        (".eh_frame_hdr", BaseAddresses::set_eh_frame_hdr),
    ] {
        if let Some(section) = file.section_by_name(name) {
            bases = set(bases, section.address());
        }
    }
    let vendor = if machine == Machine::Aarch64 { Vendor::AArch64 } else { Vendor::Default };
    let eh_frame = section(file, ".eh_frame")?;
    let mut section_reader = EhFrame::new(&eh_frame, LittleEndian);
    section_reader.set_vendor(vendor);
    reader.add(&section_reader, &bases);
    let debug_frame = section(file, ".debug_frame")?;
    let mut section_reader = DebugFrame::new(&debug_frame, LittleEndian);
    section_reader.set_address_size(8);
    section_reader.set_vendor(vendor);
    reader.fill_in(&section_reader, &bases);
    reader.finish(&Code::of(file, source, machine))
}

/// A section's bytes, decompressed; empty if there is none, or if separate debug information left only its header.
fn section<'d, R: ReadRef<'d>>(
    file: &object::File<'d, R>,
    name: &'static str,
) -> Result<Cow<'d, [u8]>, RowsError> {
    let Some(section) = file.section_by_name(name) else { return Ok(Cow::Borrowed(&[])) };
    let range = section.compressed_file_range()?;
    let bytes = range.compressed_size.max(range.uncompressed_size);
    if bytes > MAX_SECTION {
        return Err(RowsError::TooLarge { section: name, bytes });
    }
    Ok(section.uncompressed_data()?)
}

/// The rows of one function, at `first..last` of all.
struct Function {
    start: u64,
    end: u64,
    first: usize,
    last: usize,
}

struct Reader<'c> {
    machine: Machine,
    code: &'c [Segment],
    functions: Vec<Function>,
    rows: Vec<AddressRow>,
    rules: Rules,
    malformed: usize,
}

impl<'c> Reader<'c> {
    fn new(machine: Machine, code: &'c [Segment]) -> Self {
        let rules = Rules::default();
        Self { machine, code, functions: Vec::new(), rows: Vec::new(), rules, malformed: 0 }
    }

    /// Adds what `section` says of code that no function so far covers.
    fn fill_in<'d, S: UnwindSection<Bytes<'d>>>(&mut self, section: &S, bases: &BaseAddresses) {
        let known = std::mem::take(&mut self.functions);
        let mut ends: Vec<_> = known.iter().map(|function| (function.start, function.end)).collect();
        ends.sort_unstable();
        self.add(section, bases);
        self.functions.retain(|function| {
            let before = ends.partition_point(|(start, _)| *start <= function.start);
            let reaches_in = before > 0 && ends[before - 1].1 > function.start;
            !reaches_in && ends.get(before).is_none_or(|(start, _)| *start >= function.end)
        });
        self.functions.extend(known);
    }

    fn add<'d, S: UnwindSection<Bytes<'d>>>(&mut self, section: &S, bases: &BaseAddresses) {
        let mut context = UnwindContext::new();
        // Thousands of functions share one.
        let mut common: HashMap<usize, CommonInformationEntry<Bytes<'d>>> = HashMap::new();
        let mut entries = section.entries(bases);
        while self.rows.len() <= MAX_ROWS {
            let entry = match entries.next() {
                Ok(Some(CieOrFde::Fde(entry))) => entry,
                Ok(Some(CieOrFde::Cie(_))) => continue,
                Ok(None) => return,
                Err(_) => {
                    self.malformed += 1;
                    return;
                }
            };
            let parsed = entry.parse(|section, bases, offset| {
                let at: usize = UnwindOffset::into(offset);
                if let Some(known) = common.get(&at) {
                    return Ok(known.clone());
                }
                let new = section.cie_from_offset(bases, offset)?;
                common.insert(at, new.clone());
                Ok(new)
            });
            match parsed {
                Ok(entry) if entry.cie().entry_len() <= MAX_COMMON => {
                    self.function(section, bases, &entry, &mut context);
                }
                Ok(_) | Err(_) => self.malformed += 1,
            }
        }
    }

    fn function<'d, S: UnwindSection<Bytes<'d>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        fde: &gimli::FrameDescriptionEntry<Bytes<'d>>,
        context: &mut UnwindContext<usize>,
    ) {
        let start = fde.initial_address();
        // Functions that the linker dropped are left in `.debug_frame` at address 0 or so.
        let Some(segment) = self.code.iter().find(|segment| segment.contains(start)) else { return };
        // Whatever it says, nothing of it lies beyond the code that is loaded.
        let end = start.saturating_add(fde.len()).min(segment.end());
        if end <= start {
            return;
        }
        let first = self.rows.len();
        if fde.is_signal_trampoline() {
            // Nothing calls it: its address is a return address before which another function ends.
            let rule = self.rules.number(Rule::of(Kind::Signal));
            self.rows.push(AddressRow { address: start.saturating_sub(1), rule });
        } else {
            let cie = fde.cie();
            let (encoding, return_address) = (cie.encoding(), cie.return_address_register());
            let entry = Entry { machine: self.machine, section, encoding, return_address };
            let Ok(mut table) = fde.rows(section, bases, context) else {
                self.malformed += 1;
                return;
            };
            loop {
                let row = match table.next_row() {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    Err(_) => {
                        self.malformed += 1;
                        break;
                    }
                };
                if row.start_address() >= end || self.rows.len() > MAX_ROWS {
                    break;
                }
                if row.end_address() <= row.start_address() {
                    continue;
                }
                let rule = self.rules.number(entry.rule(row));
                if self.rows[first..].last().is_none_or(|last| last.rule != rule) {
                    self.rows.push(AddressRow { address: row.start_address(), rule });
                }
            }
        }
        self.functions.push(Function { start, end, first, last: self.rows.len() });
    }

    /// Functions in order of address, with "nothing known" where other code is between them.
    fn finish(mut self, code: &Code<'_>) -> Result<Rows, RowsError> {
        if self.functions.is_empty() {
            return Err(RowsError::None);
        }
        if self.rows.len() > MAX_ROWS {
            return Err(RowsError::TooMany);
        }
        self.functions.sort_by_key(|function| function.start);
        let mut rows: Vec<AddressRow> = Vec::with_capacity(self.rows.len() + 16);
        let mut covered = 0;
        for function in &self.functions {
            let has_gap = !rows.is_empty() && function.start > covered;
            if has_gap && !code.is_padding(covered, function.start) {
                rows.push(AddressRow { address: covered, rule: 0 });
            }
            for row in &self.rows[function.first..function.last] {
                while rows.last().is_some_and(|last| last.address >= row.address) {
                    rows.pop();
                }
                if rows.last().is_none_or(|last| last.rule != row.rule) {
                    rows.push(*row);
                }
            }
            covered = covered.max(function.end);
        }
        rows.push(AddressRow { address: covered, rule: 0 });
        Ok(Rows { machine: self.machine, rows, rules: self.rules.list, malformed: self.malformed })
    }
}

/// Every rule once.
struct Rules {
    list: Vec<Rule>,
    numbers: HashMap<Rule, u16>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { list: vec![Rule::NONE], numbers: HashMap::from([(Rule::NONE, 0)]) }
    }
}

impl Rules {
    fn number(&mut self, rule: Rule) -> u16 {
        if let Some(number) = self.numbers.get(&rule) {
            return *number;
        }
        // The last place is for the rule that says that there were too many.
        let rule = if self.list.len() < MAX_RULES - 1 { rule } else { Rule::unsupported(Why::TooMany) };
        *self.numbers.entry(rule).or_insert_with(|| {
            self.list.push(rule);
            (self.list.len() - 1) as u16
        })
    }
}

#[cfg(test)]
mod tests;
