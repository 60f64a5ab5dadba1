//! Names and places of one process's functions, read from its memory.

use std::collections::{HashMap, VecDeque};

use leaktrace_common::{
    process::ProcessId,
    v8::{self, FunctionKey, Sighting, Word},
};

use crate::{
    attribute::{self, Place},
    kernel::Kernel,
    process::Memory,
    runtime::v8::{
        At, Builtins, Decoder, FunctionSeen, JsFrame, NotRead,
        detect::V8,
        wasm::{self, Wasm},
    },
    source_map::{ProcessFiles, SourceMaps},
    symbolize::{Name, TypeOf},
};

/// Functions that are tried again at one time.
const RETRIED: usize = 64;

pub(super) struct Reader {
    decoder: Decoder,
    /// None where their code is not found.
    wasm: Option<Wasm>,
    memory: Memory,
    /// Functions that had moved before they were read, those that wait longest first, and where each was tried last.
    moved: VecDeque<(FunctionKey, Sighting)>,
    /// Of compiled code, which V8 may throw away at any time. Source maps come later: they take longer than that code may last.
    compiled: HashMap<Place, Vec<JsFrame>>,
    /// None without source maps.
    files: Option<ProcessFiles>,
}

impl Reader {
    pub(super) fn new(pid: u32, v8: &V8, layout: &v8::Layout, files: Option<ProcessFiles>) -> Option<Self> {
        // As far above where it was linked as the builtins are.
        let manager = v8.builtins.as_ref().zip(v8.code_manager);
        let manager =
            manager.map(|(code, at)| layout.builtins[0].wrapping_sub(code.start.0).wrapping_add(at.0));
        Some(Self {
            decoder: Decoder::new(v8.layout.clone()?, builtins(layout)),
            wasm: manager.map(|manager| Wasm::new(v8.version, manager)),
            memory: Memory::open(pid).ok()?,
            moved: VecDeque::new(),
            compiled: HashMap::new(),
            files,
        })
    }

    pub(super) fn learn(&mut self, key: FunctionKey, Sighting { function, shared, bytecode }: Sighting) {
        let seen = FunctionSeen { key, function, shared, bytecode };
        if self.decoder.learn(&self.memory, &seen) == Err(NotRead::Moved) {
            self.moved.push_back((key, Sighting { function, shared, bytecode }));
        }
    }

    /// Tries functions again that had moved and were seen elsewhere since: those that wait longest, and not so many that
    /// it takes time.
    pub(super) fn retry(&mut self, process: ProcessId, kernel: &Kernel) {
        let now = self.moved.len().min(RETRIED);
        for (key, tried) in self.moved.drain(..now).collect::<Vec<_>>() {
            match kernel.sighting(process, key) {
                Some(seen) if seen != tried => self.learn(key, seen),
                Some(_) => self.moved.push_back((key, tried)),
                None => {}
            }
        }
    }

    /// V8 has made a copy of its builtins since. What was learned stays: functions are not sent again.
    pub(super) fn set_builtins(&mut self, layout: &v8::Layout) {
        self.decoder.set_builtins(builtins(layout));
    }

    /// What could not be read, by cause.
    pub(super) fn losses(&self) -> impl Iterator<Item = (NotRead, u64)> {
        // What has moved is tried again, and code that was not found when it is named: lost is what still waits for that.
        let waiting = [
            (NotRead::Moved, self.moved.len() as u64),
            (NotRead::NoCode, self.wasm.as_ref().map_or(0, Wasm::unnamed)),
        ];
        let others = self.decoder.losses().filter(|(reason, _)| *reason != NotRead::Moved);
        others.chain(waiting).filter(|(_, count)| *count > 0)
    }

    /// Compiled code is looked up while it is there.
    pub(super) fn name_stack(&mut self, process: ProcessId, words: &[u64]) {
        let mut address = 0;
        for word in words {
            match Word::unpack(*word) {
                Word::Address(at) => address = at,
                Word::Function(function) => {
                    let place = Place::JavaScript { process, function, at: attribute::At::Code(address) };
                    if !self.compiled.contains_key(&place)
                        && let Some(frames) = self.look_up(place)
                    {
                        self.compiled.insert(place, frames);
                    }
                }
                Word::Bytecode(_) => {}
            }
        }
    }

    /// The frames that a place stands for, innermost first; none for a function that was not read.
    pub(super) fn name(&mut self, place: Place, maps: &mut Option<SourceMaps>) -> Option<Vec<Name>> {
        let frames = self.frames(place)?.into_iter();
        Some(frames.map(|frame| self.translated(frame, maps).into()).collect())
    }

    /// What a sampled object is.
    pub(super) fn type_name(&mut self, of: TypeOf, maps: &mut Option<SourceMaps>) -> String {
        if self.decoder.is_closure(of.instance_type) {
            return "closure".to_owned();
        }
        let constructor = self.constructor(of.constructor, maps);
        let name = constructor.or_else(|| self.decoder.kind_name(of.instance_type).map(str::to_owned));
        name.unwrap_or_else(|| format!("unknown type {}", of.instance_type))
    }

    fn frames(&mut self, place: Place) -> Option<Vec<JsFrame>> {
        let frames = self.compiled.get(&place).cloned().or_else(|| self.look_up(place));
        let is_wasm = matches!(place, Place::JavaScript { function: FunctionKey::WASM, .. });
        frames.or_else(|| is_wasm.then(|| vec![wasm::unnamed()]))
    }

    /// None for a function that was not read.
    fn look_up(&mut self, place: Place) -> Option<Vec<JsFrame>> {
        let Place::JavaScript { function, at, .. } = place else { return None };
        match (function, at) {
            (FunctionKey::WASM, attribute::At::Code(pc)) => {
                return Some(vec![self.wasm.as_mut()?.frame(&self.memory, pc)?]);
            }
            (FunctionKey::WASM_TO_JS, _) => return Some(vec![wasm::to_javascript()]),
            _ => {}
        }
        let at = match at {
            attribute::At::Bytecode(offset) => At::Bytecode(offset),
            attribute::At::Code(address) => At::Code(address),
        };
        self.decoder.name(function)?;
        Some(self.decoder.frame(&self.memory, function, at))
    }

    /// What the class is called whose constructor this is.
    fn constructor(&mut self, function: FunctionKey, maps: &mut Option<SourceMaps>) -> Option<String> {
        let name = self.decoder.name(function).filter(|_| function != FunctionKey::default())?;
        if maps.is_none() {
            return Some(name.to_owned());
        }
        let frame = self.decoder.frame(&self.memory, function, At::Builtin).pop()?;
        Some(self.translated(frame, maps).function)
    }

    /// With the author's names and places, where source maps are wanted and have them.
    fn translated(&mut self, mut frame: JsFrame, maps: &mut Option<SourceMaps>) -> JsFrame {
        if let (Some(maps), Some(files)) = (maps, &mut self.files) {
            maps.translate(files, &mut frame);
        }
        frame
    }
}

fn builtins(layout: &v8::Layout) -> Builtins {
    let range = |[start, end]: [u64; 2]| start..end;
    Builtins { text: range(layout.builtins), copy: range(layout.builtins_copy) }
}

impl From<JsFrame> for Name {
    fn from(frame: JsFrame) -> Self {
        let JsFrame { function, file, line, column, inlined, missing, .. } = frame;
        // Then it is where the function begins.
        let line_of_function = line.is_some() && missing.is_some();
        Self { function, file: Some(file), line, column, inlined, line_of_function }
    }
}
