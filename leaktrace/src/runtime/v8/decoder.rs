//! Names and places of one process's functions.
//!
//! Everything kept is by identities that no collection changes (script ids, literal ids), so that a frame can be
//! named long after it was seen. Only compiled code is looked up by address, and checked each time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use leaktrace_common::v8::FunctionKey;

use super::{
    frame::{At, Builtins, FunctionSeen, JsFrame, Tier},
    function,
    kind::Kinds,
    layout::Layout,
    learned::{Function, MAX_EVAL_DEPTH, Source},
    machine_code::Compiled,
    object::{Heap, Tagged},
    positions::{self, Encoding},
    reason::NotRead,
    script,
};
use crate::process::ReadUser;

/// Functions and scripts of one process that are remembered. Large servers have some 50,000 functions; a program that
/// evaluates new text for ever has no end of them.
const MAX_FUNCTIONS: usize = 1 << 18;
const MAX_SCRIPTS: usize = 1 << 16;

/// Of line ends and tables of positions, for the same reason.
const MAX_BYTES: usize = 256 << 20;

/// What is known of one process's JavaScript.
#[derive(Debug)]
pub struct Decoder {
    /// Shared with what reads by it while the rest is changed.
    pub(super) layout: Arc<Layout>,
    builtins: Builtins,
    kinds: Kinds,
    pub(super) functions: HashMap<FunctionKey, Function>,
    pub(super) scripts: HashMap<u32, Source>,
    /// By where instructions begin.
    pub(super) compiled: BTreeMap<u64, Compiled>,
    pub(super) compiled_bytes: usize,
    /// Map of the headers of instructions, see [`super::code::search`].
    pub(super) header_map: Option<Tagged>,
    bytes: usize,
    losses: BTreeMap<NotRead, u64>,
}

impl Decoder {
    #[must_use]
    pub fn new(layout: Layout, builtins: Builtins) -> Self {
        Self {
            kinds: Kinds::new(&layout.types),
            layout: Arc::new(layout),
            builtins,
            functions: HashMap::new(),
            scripts: HashMap::new(),
            compiled: BTreeMap::new(),
            compiled_bytes: 0,
            header_map: None,
            bytes: 0,
            losses: BTreeMap::new(),
        }
    }

    /// V8 has made a copy of its builtins since.
    pub fn set_builtins(&mut self, builtins: Builtins) {
        self.builtins = builtins;
    }

    /// Reads a function's name, its script and, if it has bytecode, the places of that, and remembers them. Costs
    /// nothing for a function that is known.
    ///
    /// # Errors
    /// [`NotRead::Moved`]: ask again with a fresher sighting. Else it will not be read by asking again.
    pub fn learn(&mut self, memory: &impl ReadUser, seen: &FunctionSeen) -> Result<(), NotRead> {
        let known = self.functions.get_mut(&seen.key);
        if let Some(known) = known
            && (known.positions.is_ok() || seen.bytecode == 0)
        {
            known.closure = Tagged::of(seen.function);
            return Ok(());
        }
        let layout = Arc::clone(&self.layout);
        let heap = Heap { memory, layout: &layout, isolate: seen.key.isolate() };
        let closure = Tagged::of(seen.function);
        // The closure may have moved and left the other where it was: those seldom move.
        let shared = Tagged::of(seen.shared)
            .filter(|shared| is(heap, seen.key, *shared))
            .or_else(|| function::shared_of(heap, closure?).filter(|shared| is(heap, seen.key, *shared)));
        let result = shared
            .ok_or(NotRead::Moved)
            .and_then(|shared| self.add(heap, seen.key, shared, Tagged::of(seen.bytecode), 0));
        match result {
            Ok(()) => {
                if let Some(function) = self.functions.get_mut(&seen.key) {
                    function.closure = closure;
                }
            }
            Err(reason) => self.count(reason),
        }
        result
    }

    /// The frames that one frame on the stack stands for, innermost first: more than one where calls were inlined.
    /// Never empty.
    pub fn frame(&mut self, memory: &impl ReadUser, key: FunctionKey, at: At) -> Vec<JsFrame> {
        match at {
            At::Builtin => vec![self.describe(key, Err(NotRead::NoPosition), Tier::Builtin)],
            At::Code(pc) if self.builtins.contain(pc) => self.frame(memory, key, At::Builtin),
            At::Code(pc) => {
                let layout = Arc::clone(&self.layout);
                let heap = Heap { memory, layout: &layout, isolate: key.isolate() };
                self.compiled_frames(heap, key, pc)
            }
            At::Bytecode(word) => {
                vec![self.describe(key, self.interpreted_position(key, word), Tier::Interpreted)]
            }
        }
    }

    /// What a function is called, as in frames; a class by its name. None if it was not learned.
    #[must_use]
    pub fn name(&self, key: FunctionKey) -> Option<&str> {
        self.functions.get(&key).map(|function| &*function.name)
    }

    /// What an object of this instance type is called; none for types that the binary does not name.
    #[must_use]
    pub fn kind_name(&self, instance_type: u16) -> Option<&str> {
        self.kinds.name(instance_type)
    }

    /// Whether it is a function, whatever made it.
    #[must_use]
    pub fn is_closure(&self, instance_type: u16) -> bool {
        (self.layout.types.first_function..=self.layout.types.last_function).contains(&instance_type)
    }

    /// What could not be learned, by cause.
    pub fn losses(&self) -> impl Iterator<Item = (NotRead, u64)> {
        self.losses.iter().map(|(reason, count)| (*reason, *count))
    }

    pub(super) fn count(&mut self, reason: NotRead) {
        *self.losses.entry(reason).or_default() += 1;
    }

    pub(super) fn encoding(&self) -> Encoding {
        if self.layout.bytecode.new_positions { Encoding::Flags } else { Encoding::Signed }
    }

    fn interpreted_position(&self, key: FunctionKey, word: u32) -> Result<u32, NotRead> {
        // From the tagged pointer to the bytecode's first byte.
        let offset = word.checked_sub(self.layout.bytecode.data - 1).ok_or(NotRead::Malformed)?;
        self.bytecode_position(key, offset)
    }

    pub(super) fn bytecode_position(&self, key: FunctionKey, offset: u32) -> Result<u32, NotRead> {
        let function = self.functions.get(&key).ok_or(NotRead::NotLearned)?;
        let table = function.positions.as_deref().map_err(|reason| *reason)?;
        let position = positions::lookup(table, self.encoding(), offset);
        position.and_then(positions::Position::offset).ok_or(NotRead::NoPosition)
    }

    /// A frame of a function, at a position in its script.
    pub(super) fn describe(&self, key: FunctionKey, position: Result<u32, NotRead>, tier: Tier) -> JsFrame {
        let source = self.scripts.get(&key.script());
        let file = source.map_or_else(|| "native".to_owned(), |source| source.file.clone());
        let mut frame = JsFrame {
            function: String::new(),
            file,
            line: None,
            column: None,
            start: None,
            tier,
            inlined: false,
            missing: position.err(),
        };
        let Some(function) = self.functions.get(&key) else {
            "(unknown function)".clone_into(&mut frame.function);
            frame.missing = Some(NotRead::NotLearned);
            return frame;
        };
        frame.function.clone_from(&function.name);
        frame.start = source.zip(function.start).and_then(|(source, start)| source.script.locate(start).ok());
        if let Some(source) = source
            && let Some(position) = position.ok().or(function.start)
        {
            match source.script.locate(position) {
                Ok((line, column)) => (frame.line, frame.column) = (Some(line), Some(column)),
                Err(reason) => frame.missing = Some(reason),
            }
        }
        frame
    }

    /// Reads a function and what it needs. `depth` counts evals within evals.
    pub(super) fn add<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        key: FunctionKey,
        shared: Tagged,
        seen_bytecode: Option<Tagged>,
        depth: u32,
    ) -> Result<(), NotRead> {
        if self.functions.len() >= MAX_FUNCTIONS || self.bytes > MAX_BYTES {
            return Err(NotRead::TooMany);
        }
        let read = function::read(heap, shared)?;
        let source = match read.script {
            Some(script) => Some(self.add_script(heap, script, depth)?),
            None => None,
        };
        let source = source.and_then(|id| self.scripts.get(&id));
        // What was seen in the frame may be another function's by now; what the function has is its own.
        let bytecode = read.bytecode.or(seen_bytecode);
        let function = Function::new(heap, &read, bytecode, source);
        // Had a collection moved it meanwhile, what was read could be anything's.
        if !is(heap, key, shared) {
            return Err(NotRead::Moved);
        }
        self.bytes += function.bytes();
        let before = self.functions.insert(key, function);
        self.bytes -= before.map_or(0, |before| before.bytes());
        Ok(())
    }

    fn add_script<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        object: Tagged,
        depth: u32,
    ) -> Result<u32, NotRead> {
        let id = script::id(heap, object).ok_or(NotRead::Moved)?;
        // As in keys.
        let id = FunctionKey::new(id, 0).in_isolate(heap.isolate).script();
        if self.scripts.get(&id).is_some_and(Source::is_settled) {
            return Ok(id);
        }
        if self.scripts.len() >= MAX_SCRIPTS {
            return Err(NotRead::TooMany);
        }
        let script = script::read(heap, object)?;
        if script::id(heap, object).map(|id| FunctionKey::new(id, 0).in_isolate(heap.isolate).script())
            != Some(id)
        {
            return Err(NotRead::Moved);
        }
        if let Err(reason) = &script.lines {
            self.count(*reason);
        }
        let origin = script.eval.filter(|_| depth < MAX_EVAL_DEPTH).and_then(|eval| {
            let key = function::key(heap, eval.shared)?;
            if !self.functions.contains_key(&key) {
                self.add(heap, key, eval.shared, None, depth + 1).ok()?;
            }
            Some(self.eval_origin(key, eval.place))
        });
        let source = Source::new(script, origin);
        self.bytes += source.script.bytes();
        let before = self.scripts.insert(id, source);
        self.bytes -= before.map_or(0, |before| before.script.bytes());
        Ok(id)
    }
}

/// Whether this is the `SharedFunctionInfo` of that function.
fn is<M: ReadUser>(heap: Heap<'_, M>, key: FunctionKey, shared: Tagged) -> bool {
    // Without a script there is no more to compare.
    function::key(heap, shared).is_some_and(|found| found == key || found.script() == 0 && key.script() == 0)
}
