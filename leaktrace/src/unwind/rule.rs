//! One row of call frame information to one rule.

use gimli::{CfaRule, Operation, Register, RegisterRule, UnwindExpression, UnwindSection, UnwindTableRow};
use leaktrace_common::unwind::{Kind, Rule, Slot, Why, flags};

/// The bytes that call frame information is read from.
pub(super) type Bytes<'d> = gimli::EndianSlice<'d, gimli::LittleEndian>;

/// The instruction set of a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

/// The registers that rules follow, by their DWARF numbers.
struct Followed {
    stack_pointer: Register,
    frame_pointer: Register,
    /// rbx; the link register.
    second: Register,
}

impl Machine {
    /// System V ABI, AMD64 supplement, figure 3.36; DWARF for the Arm 64-bit architecture, table 4.1.
    const fn followed(self) -> Followed {
        let (stack_pointer, frame_pointer, second) = match self {
            Self::X86_64 => (7, 6, 3),
            Self::Aarch64 => (31, 29, 30),
        };
        Followed {
            stack_pointer: Register(stack_pointer),
            frame_pointer: Register(frame_pointer),
            second: Register(second),
        }
    }
}

/// The longest CFA expression that is known, the one of PLT entries, has 8 operations.
const MAX_OPERATIONS: usize = 8;

/// What a rule has to know of the entry that its row is in.
pub(super) struct Entry<'a, S> {
    pub(super) machine: Machine,
    pub(super) section: &'a S,
    pub(super) encoding: gimli::Encoding,
    pub(super) return_address: Register,
}

impl<'d, S: UnwindSection<Bytes<'d>>> Entry<'_, S> {
    /// The rule that says the same as the row, or that it cannot be said.
    pub(super) fn rule(&self, row: &UnwindTableRow<usize>) -> Rule {
        self.try_rule(row).unwrap_or_else(Rule::unsupported)
    }

    fn try_rule(&self, row: &UnwindTableRow<usize>) -> Result<Rule, Why> {
        let followed = self.machine.followed();
        match (self.machine, row.register(self.return_address)) {
            (_, Some(RegisterRule::Undefined)) => return Ok(Rule::of(Kind::End)),
            (Machine::X86_64, Some(RegisterRule::Offset(-8))) => {}
            // It is the second register, whose slot is taken below.
            (Machine::Aarch64, _) if self.return_address == followed.second => {}
            _ => return Err(Why::ReturnAddress),
        }
        let (kind, cfa, post) = self.cfa(row.cfa(), &followed)?;
        // The saved place is counted from the frame pointer, which the walk has then only if the CFA needs it too.
        let has_frame_pointer = matches!(kind, Kind::FramePointer | Kind::DerefFramePointer);
        let mut bits = 0;
        let frame_pointer = match row.register(followed.frame_pointer) {
            Some(RegisterRule::Expression(expression)) => {
                match self.saved_from_frame_pointer(&expression, &followed) {
                    Some(Slot(0)) if has_frame_pointer => {
                        bits |= flags::FRAME_POINTER_AT_ITSELF;
                        Slot::SAME
                    }
                    _ => Slot::LOST,
                }
            }
            rule => slot(rule.as_ref()),
        };
        let second = match row.register(followed.second) {
            Some(RegisterRule::Expression(expression)) if self.machine == Machine::X86_64 => {
                match self.saved_from_frame_pointer(&expression, &followed) {
                    Some(slot) if has_frame_pointer => {
                        bits |= flags::SECOND_FROM_FRAME_POINTER;
                        slot
                    }
                    _ => Slot::LOST,
                }
            }
            rule => slot(rule.as_ref()),
        };
        if self.machine == Machine::Aarch64 && second == Slot::LOST {
            return Err(Why::ReturnAddress);
        }
        let cfa = i32::try_from(cfa).map_err(|_| Why::Range)?;
        let post = i32::try_from(post).map_err(|_| Why::Range)?;
        Ok(Rule::new(kind, bits, frame_pointer, second, cfa, post))
    }

    /// Kind, offset, and what is added after a dereference.
    fn cfa(&self, cfa: &CfaRule<usize>, followed: &Followed) -> Result<(Kind, i64, i64), Why> {
        let expression = match cfa {
            CfaRule::RegisterAndOffset { register, offset } => {
                let kind = if *register == followed.stack_pointer {
                    Kind::StackPointer
                } else if *register == followed.frame_pointer {
                    Kind::FramePointer
                } else if *register == followed.second && self.machine == Machine::X86_64 {
                    Kind::Second
                } else {
                    return Err(Why::CfaRegister);
                };
                return Ok((kind, *offset, 0));
            }
            CfaRule::Expression(expression) => expression,
        };
        let operations = self.operations(expression).ok_or(Why::CfaExpression)?;
        let (base, offset, post) = match operations[..] {
            [Operation::RegisterOffset { register, offset, .. }, Operation::Deref { .. }] => {
                (register, offset, 0)
            }
            [
                Operation::RegisterOffset { register, offset, .. },
                Operation::Deref { .. },
                Operation::PlusConstant { value },
            ] => (register, offset, i64::try_from(value).map_err(|_| Why::Range)?),
            // rsp + 8 + ((rip & 15) >= n) * 8: linkers write it for the procedure linkage table.
            [
                Operation::RegisterOffset { register: Register(7), offset: 8, .. },
                Operation::RegisterOffset { register: Register(16), offset: 0, .. },
                Operation::UnsignedConstant { value: 15 },
                Operation::And,
                Operation::UnsignedConstant { value },
                Operation::Ge,
                Operation::UnsignedConstant { value: 3 },
                Operation::Shl,
                Operation::Plus,
            ] if self.machine == Machine::X86_64 => {
                return Ok((Kind::Plt, i64::try_from(value).map_err(|_| Why::Range)?, 0));
            }
            _ => return Err(Why::CfaExpression),
        };
        if base == followed.frame_pointer {
            Ok((Kind::DerefFramePointer, offset, post))
        } else if base == followed.stack_pointer {
            Ok((Kind::DerefStackPointer, offset, post))
        } else {
            Err(Why::CfaRegister)
        }
    }

    /// gcc's realigned frames: the register was saved at the frame pointer plus so many words.
    fn saved_from_frame_pointer(
        &self,
        expression: &UnwindExpression<usize>,
        followed: &Followed,
    ) -> Option<Slot> {
        match self.operations(expression)?[..] {
            [Operation::RegisterOffset { register, offset, .. }] if register == followed.frame_pointer => {
                Slot::at(offset)
            }
            _ => None,
        }
    }

    /// None for expressions that are malformed or longer than any known one.
    fn operations(&self, expression: &UnwindExpression<usize>) -> Option<Vec<Operation<Bytes<'d>>>> {
        let mut operations = expression.get(self.section).ok()?.operations(self.encoding);
        let mut known = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            if known.len() > MAX_OPERATIONS {
                return None;
            }
            known.push(operation);
        }
        Some(known)
    }
}

/// "Undefined" is unchanged here, as in libgcc: assemblers write it for registers that they leave alone.
fn slot(rule: Option<&RegisterRule<usize>>) -> Slot {
    match rule {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Slot::SAME,
        Some(RegisterRule::Offset(bytes)) => Slot::at(*bytes).unwrap_or(Slot::LOST),
        Some(_) => Slot::LOST,
    }
}
