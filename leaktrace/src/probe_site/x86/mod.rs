//! The rules for x86_64.
//!
//! What the kernel emulates, from `branch_setup_xol_ops` and `push_setup_xol_ops` in
//! <https://github.com/torvalds/linux/blob/v6.12/arch/x86/kernel/uprobes.c>: `push` of a 64-bit register, `nop`
//! (90 and 66 90), `jmp`, `jcc` and `call` to a relative address without prefix. Long nops (0f 1f) are emulated
//! only by later kernels, refused by some in their longest forms, and the 5-byte one is worse than slow: 6.18
//! replaces it by a call that writes below the stack pointer, where leaf code keeps its variables. They are
//! passed over.
//!
//! The walk goes along straight-line code from the entry and takes the first emulated instruction. It ends
//! where an argument is overwritten and no other argument register has a copy, where the stack moves and may not, at control flow, and before code that
//! a branch of the function leads back to: a probe in a loop would fire more than once a call. Then the entry
//! itself is the site. One branch is passed: behind `test arg,arg; je`, calls with null are gone for free.

mod returns;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::{Body, Callee, Need};
use crate::binary::{Binary, LinkAddress};

pub(super) use self::returns::returns;

/// Where the System V ABI passes integer arguments.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// How far the walk goes. A prologue is over by then, and a site further in saves no more.
const STEPS: usize = 48;

/// A place in a function, from its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtEntry {
    pub(super) from_entry: u32,
    pub(super) pushed_words: u8,
    pub(super) emulated: bool,
    /// Position whose register has argument i.
    pub(super) arguments: [u8; 6],
}

pub(super) fn entry_site(body: &Body<'_>, need: Need) -> AtEntry {
    let first_target = first_inner_target(body);
    let mut info = InstructionInfoFactory::new();
    let mut pushed_words = 0u8;
    let mut homes = Homes::AT_ENTRY;
    let mut before = None;
    for instruction in instructions(body).take(STEPS) {
        // What is probed must not be reached again from further on.
        if first_target.is_some_and(|target| target <= instruction.ip()) {
            break;
        }
        if is_emulated(body, &instruction) {
            let site = behind_null_check(body, need, &homes, before, &instruction)
                .filter(|site| first_target.is_none_or(|target| target > site.ip()))
                .unwrap_or(instruction);
            let from_entry = (site.ip() - body.address.0) as u32;
            return AtEntry { from_entry, pushed_words, emulated: true, arguments: homes.positions() };
        }
        homes.pass(&mut info, &instruction);
        if instruction.flow_control() != FlowControl::Next || !homes.satisfy(need) {
            break;
        }
        match words_pushed(&mut info, &instruction) {
            Some(0) => {}
            Some(words) if !need.unmoved_stack => match pushed_words.checked_add(words) {
                Some(sum) => pushed_words = sum,
                None => break,
            },
            _ => break,
        }
        before = Some(instruction);
    }
    AtEntry { from_entry: 0, pushed_words: 0, emulated: false, arguments: Homes::AT_ENTRY.positions() }
}

/// Bit p of `homes[i]`: the register of position p has argument i. mimalloc's malloc copies its argument along
/// to make room before anything cheap comes.
struct Homes([u8; 6]);

impl Homes {
    const AT_ENTRY: Self = Self([1, 2, 4, 8, 16, 32]);

    fn pass(&mut self, info: &mut InstructionInfoFactory, instruction: &Instruction) {
        let written = info
            .info(instruction)
            .used_registers()
            .iter()
            .filter(|used| writes(used.access()))
            .filter_map(|used| position(used.register().full_register()))
            .fold(0u8, |written, position| written | 1 << position);
        let is_copy = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op_kind(0) == OpKind::Register
            && instruction.op_kind(1) == OpKind::Register;
        // Only whole registers: a copy of the lower half is another value.
        let copied = is_copy
            .then(|| Some((position(instruction.op0_register())?, position(instruction.op1_register())?)))
            .flatten();
        for home in &mut self.0 {
            let had = *home;
            *home &= !written;
            if let Some((to, from)) = copied {
                *home |= (had >> from & 1) << to;
            }
        }
    }

    fn satisfy(&self, need: Need) -> bool {
        self.0.iter().enumerate().all(|(argument, home)| {
            let wanted = if need.in_place { 1 << argument } else { 0x3f };
            need.arguments >> argument & 1 == 0 || home & wanted != 0
        })
    }

    /// Its own place where an argument still is there.
    fn positions(&self) -> [u8; 6] {
        std::array::from_fn(|argument| {
            let home = self.0[argument];
            let stays = home == 0 || home >> argument & 1 == 1;
            if stays { argument as u8 } else { home.trailing_zeros() as u8 }
        })
    }
}

fn position(register: Register) -> Option<usize> {
    ARGUMENTS.iter().position(|argument| *argument == register)
}

/// The function that a straight line from the entry leads to.
pub(super) fn forwards_to<'data>(
    binary: &Binary<'data>,
    body: &Body<'data>,
    through_calls: bool,
) -> Option<Callee<'data>> {
    let mut before: Option<Instruction> = None;
    for instruction in instructions(body).take(STEPS) {
        let is_null_check = before.is_some_and(|test| null_check(&test, &instruction).is_some());
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => {
                return destination(binary, LinkAddress(instruction.near_branch_target()));
            }
            FlowControl::Call if through_calls && instruction.mnemonic() == Mnemonic::Call => {
                return destination(binary, LinkAddress(instruction.near_branch_target()));
            }
            FlowControl::IndirectBranch => return import(binary, &instruction),
            FlowControl::IndirectCall if through_calls => return import(binary, &instruction),
            FlowControl::ConditionalBranch if through_calls && is_null_check => {}
            FlowControl::Next => {}
            _ => return None,
        }
        before = Some(instruction);
    }
    None
}

/// What a branch to `target` comes to: an entry of the procedure linkage table stands for its import.
fn destination<'data>(binary: &Binary<'data>, target: LinkAddress) -> Option<Callee<'data>> {
    let stub = Body { address: target, bytes: binary.code(target)? };
    let jump = instructions(&stub).find(|instruction| !does_nothing(instruction))?;
    match jump.flow_control() {
        FlowControl::IndirectBranch => import(binary, &jump),
        _ => Some(Callee::Here(target)),
    }
}

/// The import behind `jmp *slot(%rip)` or `call *slot(%rip)`.
fn import<'data>(binary: &Binary<'data>, instruction: &Instruction) -> Option<Callee<'data>> {
    if !instruction.is_ip_rel_memory_operand() {
        return None;
    }
    binary.import(LinkAddress(instruction.ip_rel_memory_address())).map(Callee::Import)
}

fn does_nothing(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Endbr64)
}

/// The code in order, up to where it is no code.
fn instructions<'data>(body: &Body<'data>) -> impl Iterator<Item = Instruction> + use<'data> {
    let mut decoder = Decoder::with_ip(64, body.bytes, body.address.0, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

fn bytes_of<'data>(body: &Body<'data>, instruction: &Instruction) -> &'data [u8] {
    let start = (instruction.ip() - body.address.0) as usize;
    body.bytes.get(start..start + instruction.len()).unwrap_or_default()
}

/// By the very bytes, as the kernel does: any prefix makes it another matter.
fn is_emulated(body: &Body<'_>, instruction: &Instruction) -> bool {
    match *bytes_of(body, instruction) {
        // push, nop
        [0x50..=0x57 | 0x90] | [0x41, 0x50..=0x57] | [0x66, 0x90] => true,
        // jmp rel8, jcc rel8
        [0xeb | 0x70..=0x7f, _] => true,
        // call rel32, jmp rel32
        [0xe8 | 0xe9, _, _, _, _] => true,
        // jcc rel32
        [0x0f, 0x80..=0x8f, _, _, _, _] => true,
        _ => false,
    }
}

/// The register of `test register,register; je`.
fn null_check(test: &Instruction, branch: &Instruction) -> Option<Register> {
    let register = test.op0_register();
    (branch.mnemonic() == Mnemonic::Je
        && test.mnemonic() == Mnemonic::Test
        && test.op_kind(0) == OpKind::Register
        && test.op_kind(1) == OpKind::Register
        && test.op1_register() == register)
        .then_some(register)
}

/// The instruction behind a null check of the needed argument, if it can be probed cheaply.
fn behind_null_check(
    body: &Body<'_>,
    need: Need,
    homes: &Homes,
    test: Option<Instruction>,
    branch: &Instruction,
) -> Option<Instruction> {
    let checked = null_check(&test?, branch)?;
    let home = homes.0.get(need.arguments.trailing_zeros() as usize)?;
    if !need.null_is_nothing || home >> position(checked)? & 1 == 0 {
        return None;
    }
    let next = instructions(body).find(|instruction| instruction.ip() == branch.next_ip())?;
    is_emulated(body, &next).then_some(next)
}

/// The lowest address behind the entry that a branch of the function itself leads to.
fn first_inner_target(body: &Body<'_>) -> Option<u64> {
    instructions(body)
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
            )
        })
        .map(|branch| branch.near_branch_target())
        .filter(|target| *target > body.address.0 && body.contains(LinkAddress(*target)))
        .min()
}

fn writes(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// By how many words the instruction lowers the stack pointer; none where that is not a fixed whole number.
fn words_pushed(info: &mut InstructionInfoFactory, instruction: &Instruction) -> Option<u8> {
    let moves = info
        .info(instruction)
        .used_registers()
        .iter()
        .any(|used| writes(used.access()) && used.register().full_register() == Register::RSP);
    if !moves {
        return Some(0);
    }
    let is_constant = matches!(instruction.op_kind(1), OpKind::Immediate8to64 | OpKind::Immediate32to64);
    let bytes = match instruction.mnemonic() {
        Mnemonic::Push => u64::try_from(-instruction.stack_pointer_increment()).ok()?,
        Mnemonic::Sub if instruction.op0_register() == Register::RSP && is_constant => {
            instruction.immediate(1)
        }
        _ => return None,
    };
    (bytes % 8 == 0).then(|| u8::try_from(bytes / 8).ok())?
}

#[cfg(test)]
mod tests;
