//! What a page's header says of the objects on the page: young or old, marked or not.

use std::collections::HashMap;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use leaktrace_common::v8::PAGE;

use super::{function, instructions};
use crate::binary::Binary;

const IS_UNMARKED: &str = "_ZN2v88internal20MarkCompactCollector20IsUnmarkedHeapObjectE";
const IN_YOUNG: &str = "_ZN2v88internal25Runtime_InYoungGenerationE";

/// Bitmaps lie behind the fields of a page's header, which are more than this many bytes and fewer than that.
const BITMAP: std::ops::Range<u32> = 0x80..0x1000;

/// Where mark bits are: from the page's start, or with `metadata` from where the word at that offset points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub bitmap: u32,
    pub metadata: Option<u32>,
}

/// Where a page's flags are, and which of them say that its objects are young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YoungPages {
    pub flags: u32,
    pub young: u32,
}

pub(in crate::runtime::v8) fn marks(binary: &Binary<'_>) -> Option<Marks> {
    let code = instructions(binary, function(binary, IS_UNMARKED)?);
    marks_in(code)
}

pub(in crate::runtime::v8) fn young_pages(binary: &Binary<'_>) -> Option<YoungPages> {
    let code = instructions(binary, function(binary, IN_YOUNG)?);
    young_pages_in(code)
}

/// The bitmap is the one thing that is read by an index.
fn marks_in(code: impl Iterator<Item = Instruction>) -> Option<Marks> {
    let mut values = Values::new();
    for instruction in code {
        let bitmap = u32::try_from(instruction.memory_displacement64()).ok();
        let bitmap = bitmap.filter(|offset| BITMAP.contains(offset) && reads_memory(instruction));
        if instruction.memory_index() != Register::None
            && let Some(bitmap) = bitmap
        {
            match values.of(instruction.memory_base()) {
                Some(Value::Page) => return Some(Marks { bitmap, metadata: None }),
                Some(Value::Field(metadata)) => return Some(Marks { bitmap, metadata: Some(metadata) }),
                None => {}
            }
        }
        values.pass(instruction);
    }
    None
}

/// `test [page+flags],young`, or the flags are loaded first.
fn young_pages_in(code: impl Iterator<Item = Instruction>) -> Option<YoungPages> {
    let mut values = Values::new();
    for instruction in code {
        if instruction.mnemonic() == Mnemonic::Test && is_immediate(instruction.op1_kind()) {
            let young = u32::try_from(instruction.immediate(1)).ok();
            let flags = match instruction.op0_kind() {
                OpKind::Memory if values.of(instruction.memory_base()) == Some(Value::Page) => {
                    u32::try_from(instruction.memory_displacement64()).ok()
                }
                OpKind::Register => match values.of(instruction.op0_register().full_register()) {
                    Some(Value::Field(flags)) => Some(flags),
                    _ => None,
                },
                _ => None,
            };
            if let (Some(flags), Some(young)) = (flags, young) {
                return Some(YoungPages { flags, young });
            }
        }
        values.pass(instruction);
    }
    None
}

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The start of an object's page.
    Page,
    /// The word at this offset of the page.
    Field(u32),
}

/// Registers in the order in which the code stands. The functions branch only to leave or to look at something else,
/// so that no register has two meanings where it matters.
struct Values {
    known: HashMap<Register, Value>,
    info: InstructionInfoFactory,
}

impl Values {
    fn new() -> Self {
        Self { known: HashMap::new(), info: InstructionInfoFactory::new() }
    }

    fn of(&self, register: Register) -> Option<Value> {
        self.known.get(&register).copied()
    }

    fn pass(&mut self, instruction: Instruction) {
        let to = instruction.op0_register();
        let now = match instruction.mnemonic() {
            Mnemonic::And if is_immediate(instruction.op1_kind()) => {
                (instruction.immediate(1) == !(PAGE - 1)).then_some(Value::Page)
            }
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                self.of(instruction.op1_register())
            }
            Mnemonic::Mov
                if instruction.op1_kind() == OpKind::Memory
                    && instruction.memory_index() == Register::None
                    && self.of(instruction.memory_base()) == Some(Value::Page) =>
            {
                u32::try_from(instruction.memory_displacement64()).ok().map(Value::Field)
            }
            _ => None,
        };
        for used in self.info.info(&instruction).used_registers() {
            let writes = matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            if writes {
                self.known.remove(&used.register().full_register());
            }
        }
        if let Some(value) = now
            && instruction.op0_kind() == OpKind::Register
            && to.size() == 8
        {
            self.known.insert(to, value);
        }
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate32
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

fn reads_memory(instruction: Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::And | Mnemonic::Test | Mnemonic::Bt)
        && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
}

#[cfg(test)]
mod tests;
