//! Frames whose code V8 compiled: baseline, Maglev, TurboFan.

use std::ops::Range;

use leaktrace_common::v8::FunctionKey;

use super::{
    baseline, code,
    decoder::Decoder,
    frame::{JsFrame, Tier},
    function,
    object::{Heap, Tagged},
    positions::{self, Position},
    reason::NotRead,
};
use crate::process::ReadUser;

/// Pieces of compiled code that are remembered; then all are forgotten, as most have been replaced by then.
const MAX_COMPILED: usize = 1 << 13;
const MAX_COMPILED_BYTES: usize = 64 << 20;

/// Calls inlined into one another: more than V8's own limit on nesting.
const MAX_INLINED: usize = 64;

/// What was read of compiled code.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    found: code::Found,
    tier: Tier,
    table: Vec<u8>,
    /// Of baseline code.
    bytecode: Vec<u8>,
    /// Of optimised code: where each inlined call is made, and of what.
    inlined: Vec<(Position, Option<FunctionKey>)>,
}

impl Compiled {
    fn bytes(&self) -> usize {
        self.table.len() + self.bytecode.len() + size_of_val(&*self.inlined)
    }
}

impl Decoder {
    pub(super) fn compiled_frames<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        key: FunctionKey,
        pc: u64,
    ) -> Vec<JsFrame> {
        let start = match self.compiled_at(heap, key, pc) {
            Ok(start) => start,
            Err(reason) => return vec![self.describe(key, Err(reason), Tier::Unknown)],
        };
        let Some(compiled) = self.compiled.get(&start) else {
            return vec![self.describe(key, Err(NotRead::NoCode), Tier::Unknown)];
        };
        match compiled.tier {
            Tier::Maglev | Tier::Turbofan => self.optimized(compiled, key, pc - start),
            Tier::Baseline => {
                let sizes = &self.layout.bytecode.sizes;
                let offset =
                    baseline::bytecode_offset(&compiled.table, &compiled.bytecode, sizes, pc - start);
                let position =
                    offset.ok_or(NotRead::NoPosition).and_then(|offset| self.bytecode_position(key, offset));
                vec![self.describe(key, position, Tier::Baseline)]
            }
            tier => vec![self.describe(key, Err(NotRead::NoPosition), tier)],
        }
    }

    fn optimized(&self, compiled: &Compiled, key: FunctionKey, offset: u64) -> Vec<JsFrame> {
        let mut frames = Vec::new();
        // What is called returns behind the call, whose position is wanted.
        let offset = u32::try_from(offset.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut position = positions::lookup(&compiled.table, self.encoding(), offset);
        while let Some(inner) = position
            && let Some(id) = inner.inlining()
            && let Some((from, function)) = compiled.inlined.get(usize::from(id))
            && frames.len() < MAX_INLINED
        {
            let place = inner.offset().ok_or(NotRead::NoPosition);
            // No function of its own: it is the compiled one, calling itself.
            let frame = self.describe(function.unwrap_or(key), place, compiled.tier);
            frames.push(JsFrame { inlined: true, ..frame });
            position = Some(*from);
        }
        let place = position.and_then(Position::offset).ok_or(NotRead::NoPosition);
        frames.push(self.describe(key, place, compiled.tier));
        frames
    }

    /// Where the code begins that holds `pc`: it is in `compiled` then.
    fn compiled_at<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        key: FunctionKey,
        pc: u64,
    ) -> Result<u64, NotRead> {
        if let Some((start, known)) = self.compiled.range(..=pc).next_back()
            && known.found.instructions.contains(&pc)
            // The collector takes and moves code as it does everything else.
            && code::at(heap, known.found.code).as_ref() == Some(&known.found)
        {
            return Ok(*start);
        }
        let hint = || {
            let closure = self.functions.get(&key)?.closure?;
            code::at(heap, heap.pointer(closure, heap.layout.function.code?)?)
        };
        let found = match hint().filter(|found| found.instructions.contains(&pc)) {
            Some(found) => found,
            None => code::search(heap, pc, &mut self.header_map).ok_or(NotRead::NoCode)?,
        };
        let compiled = self.read_compiled(heap, found)?;
        let Range { start, end } = compiled.found.instructions;
        if self.compiled.len() >= MAX_COMPILED || self.compiled_bytes > MAX_COMPILED_BYTES {
            self.compiled.clear();
            self.compiled_bytes = 0;
        }
        self.compiled_bytes += compiled.bytes();
        // What overlaps is no more.
        while let Some((old, known)) = self.compiled.range(..end).next_back()
            && known.found.instructions.end > start
        {
            let old = *old;
            self.compiled.remove(&old);
        }
        self.compiled.insert(start, compiled);
        Ok(start)
    }

    fn read_compiled<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        found: code::Found,
    ) -> Result<Compiled, NotRead> {
        let tier = self.tier(found.kind);
        let mut compiled =
            Compiled { tier, table: Vec::new(), bytecode: Vec::new(), inlined: Vec::new(), found };
        let code = compiled.found.code;
        if tier == Tier::Builtin {
            return Ok(compiled);
        }
        // Without it the function is still known.
        compiled.table = code::table(heap, code).unwrap_or_default();
        if tier == Tier::Baseline {
            compiled.bytecode = code::bytecode(heap, code).unwrap_or_default();
        } else {
            let calls = code::inlined(heap, code).unwrap_or_default();
            compiled.inlined =
                calls.into_iter().map(|call| (call.from, self.inlined_function(heap, call.shared))).collect();
        }
        if code::at(heap, code).as_ref() != Some(&compiled.found) {
            return Err(NotRead::Moved);
        }
        Ok(compiled)
    }

    fn inlined_function<M: ReadUser>(
        &mut self,
        heap: Heap<'_, M>,
        shared: Option<Tagged>,
    ) -> Option<FunctionKey> {
        let shared = shared?;
        let key = function::key(heap, shared)?;
        if !self.functions.contains_key(&key)
            && let Err(reason) = self.add(heap, key, shared, None, 0)
        {
            self.count(reason);
        }
        Some(key)
    }

    fn tier(&self, kind: u32) -> Tier {
        let baseline = self.layout.code.baseline;
        match kind {
            _ if kind == baseline => Tier::Baseline,
            // V8 10 numbers a Maglev that it does not have yet.
            _ if kind == baseline + 1 && self.layout.version.major > 10 => Tier::Maglev,
            _ if kind > baseline => Tier::Turbofan,
            _ => Tier::Builtin,
        }
    }
}
