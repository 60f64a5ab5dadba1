//! The tables that samples name things by, each thing once.

use std::collections::HashMap;

use super::{
    super::{
        frames::{Kind, name},
        paths::Path,
    },
    messages::{Function, Label, Line, Location, Mapping, Profile, ValueType},
};
use crate::report::{Frame, Report};

pub(super) struct Tables<'a> {
    report: &'a Report,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    mappings: HashMap<&'a str, usize>,
    /// By the frames that are one place in the code.
    locations: HashMap<&'a [usize], u64>,
    /// Places that are no frames: why a stack ends.
    lacks: HashMap<String, u64>,
    made: Profile,
}

impl<'a> Tables<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let mut tables = Self {
            report,
            strings: HashMap::new(),
            functions: HashMap::new(),
            mappings: HashMap::new(),
            locations: HashMap::new(),
            lacks: HashMap::new(),
            made: Profile::default(),
        };
        tables.string("");
        tables
    }

    /// What the tables hold.
    pub(super) fn into_profile(self) -> Profile {
        self.made
    }

    pub(super) fn string(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.made.string_table.len() as i64;
        self.made.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    pub(super) fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.string(kind), unit: self.string(unit) }
    }

    pub(super) fn label(&mut self, key: &str, name: &str) -> Label {
        Label { key: self.string(key), str: self.string(name) }
    }

    /// Innermost first.
    pub(super) fn locations(&mut self, path: &Path<'a>) -> Vec<u64> {
        let report = self.report;
        let is_inlined = |at: &usize| report.frames.get(*at).is_some_and(|frame| frame.inlined);
        // Inlined functions come before the one that they are inlined in.
        let places = path.stack.frames.split_inclusive(|at| !is_inlined(at));
        let mut ids: Vec<u64> = places.map(|frames| self.location(frames)).collect();
        ids.extend(path.lack().map(|lack| self.lack(lack)));
        ids
    }

    fn location(&mut self, frames: &'a [usize]) -> u64 {
        if let Some(id) = self.locations.get(frames) {
            return *id;
        }
        let report = self.report;
        let frame = |at: &usize| report.frames.get(*at);
        let line: Vec<Line> = frames.iter().filter_map(frame).map(|frame| self.line(frame)).collect();
        let outer = frames.last().and_then(frame);
        let (mapping_id, address) = outer.map_or((0, 0), |frame| self.place(frame, line.len() > 1));
        let id = self.add_location(Location { id: 0, mapping_id, address, line });
        self.locations.insert(frames, id);
        id
    }

    fn lack(&mut self, lack: String) -> u64 {
        if let Some(id) = self.lacks.get(&lack) {
            return *id;
        }
        let function_id = self.function(&lack, "");
        let line = vec![Line { function_id, ..Line::default() }];
        let id = self.add_location(Location { line, ..Location::default() });
        self.lacks.insert(lack, id);
        id
    }

    fn add_location(&mut self, location: Location) -> u64 {
        let id = self.made.location.len() as u64 + 1;
        self.made.location.push(Location { id, ..location });
        id
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let function_id = self.function(&name(frame), frame.file.as_deref().unwrap_or_default());
        Line {
            function_id,
            line: frame.line.unwrap_or_default().into(),
            column: frame.column.unwrap_or_default().into(),
        }
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        let made = &mut self.made.function;
        *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = made.len() as u64 + 1;
            made.push(Function { id, name, system_name: name, filename });
            id
        })
    }

    /// Mapping and address of a function that is not inlined.
    fn place(&mut self, frame: &'a Frame, has_inlined: bool) -> (u64, u64) {
        let (file, address) = match (Kind::of(frame), frame.module.as_deref()) {
            (_, Some(module)) => (module, number(frame.offset.as_deref())),
            (Kind::JavaScript | Kind::InlinedJavaScript, None) => ("[javascript]", 0),
            (Kind::Jit, None) => ("[jit]", 0),
            (_, None) => ("[unknown]", number(Some(&frame.address))),
        };
        let filename = self.string(file);
        let made = &mut self.made.mapping;
        let at = *self.mappings.entry(file).or_insert_with(|| {
            // Names were looked up where the process runs: nothing is left for a reader to find.
            made.push(Mapping {
                id: made.len() as u64 + 1,
                filename,
                has_functions: true,
                ..Mapping::default()
            });
            made.len() - 1
        });
        let mapping = &mut made[at];
        mapping.memory_limit = mapping.memory_limit.max(address.saturating_add(1));
        mapping.has_filenames |= frame.file.is_some();
        mapping.has_line_numbers |= frame.line.is_some();
        mapping.has_inline_frames |= has_inlined;
        (mapping.id, address)
    }
}

/// `0x1f`
fn number(hex: Option<&str>) -> u64 {
    let digits = hex.and_then(|hex| hex.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
