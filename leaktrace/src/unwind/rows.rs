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
}

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

/// Reads `.eh_frame`, and `.debug_frame` for code that the former leaves out.
///
/// # Errors
/// If the file has neither, or is none that can be read.
pub fn read<'d, R: ReadRef<'d>>(file: &object::File<'d, R>) -> Result<Rows, RowsError> {
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
    reader.finish()
}

/// A section's bytes, decompressed; empty if there is none, or if separate debug information left only its header.
fn section<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, name: &str) -> Result<Cow<'d, [u8]>, RowsError> {
    file.section_by_name(name).map_or(Ok(Cow::Borrowed(&[][..])), |section| Ok(section.uncompressed_data()?))
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
        loop {
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
                Ok(entry) => self.function(section, bases, &entry, &mut context),
                Err(_) => self.malformed += 1,
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
        let Some(end) = start.checked_add(fde.len()) else { return };
        // Functions that the linker dropped are left in `.debug_frame` at address 0 or so.
        if fde.len() == 0 || !self.code.iter().any(|segment| segment.contains(start)) {
            return;
        }
        let first = self.rows.len();
        if fde.is_signal_trampoline() {
            // Nothing calls it: its address is a return address before which another function ends.
            let rule = self.rules.number(Rule::of(Kind::Signal));
            self.rows.push(AddressRow { address: start - 1, rule });
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

    /// Functions in order of address, with "nothing known" between them.
    fn finish(mut self) -> Result<Rows, RowsError> {
        if self.functions.is_empty() {
            return Err(RowsError::None);
        }
        self.functions.sort_by_key(|function| function.start);
        let mut rows: Vec<AddressRow> = Vec::with_capacity(self.rows.len() + 16);
        let mut covered = 0;
        for function in &self.functions {
            if !rows.is_empty() && function.start > covered {
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
