//! Every `ret` by which a call of a function can end.
//!
//! A function whose symbol has a size is read from end to end, which finds what jump tables lead to. Code
//! without a symbol, reached by a jump out of it, is followed branch by branch instead, as its end is not
//! known. A call that never returns is not known as such, so the second way may run on into the next
//! function: its `ret`s are probed for nothing, and seen not to belong by their stack pointer.

use std::collections::{BTreeSet, HashSet};

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::{Body, Callee, destination, import, instructions};
use crate::binary::{Binary, Function, LinkAddress};

/// Jumps from function to function that are followed. `operator new` -> its slow part -> the central cache ->
/// the handler of exhaustion makes three, and each may go by an entry of the linkage table that counts too.
const DEPTH: u8 = 6;

/// Instructions read for one hook: an allocator's largest function has some thousand. More means that the code
/// was misread.
const BUDGET: usize = 20_000;

/// Where a tail call through the linkage table may end without any `ret`.
const NEVER_RETURN: [&str; 6] = [
    "abort",
    "__cxa_throw",
    "_ZSt17__throw_bad_allocv",
    "_ZSt9terminatev",
    "__stack_chk_fail",
    "_Unwind_Resume",
];

/// The `ret`s, and whether some way out was not found.
pub(in crate::probe_site) fn returns(
    binary: &Binary<'_>,
    function: &Function<'_>,
) -> (BTreeSet<LinkAddress>, bool) {
    let mut search = Search {
        binary,
        rets: BTreeSet::new(),
        seen: HashSet::from([function.address]),
        queue: vec![(function.address, DEPTH)],
        budget: BUDGET,
        incomplete: false,
    };
    while let Some((address, depth)) = search.queue.pop() {
        match Body::of(binary, function).filter(|body| body.address == address) {
            Some(body) => search.read_whole(&body, depth),
            None => search.reach(address, depth),
        }
    }
    (search.rets, search.incomplete)
}

struct Search<'a, 'data> {
    binary: &'a Binary<'data>,
    rets: BTreeSet<LinkAddress>,
    seen: HashSet<LinkAddress>,
    queue: Vec<(LinkAddress, u8)>,
    budget: usize,
    incomplete: bool,
}

impl Search<'_, '_> {
    /// A place that another function jumps to.
    fn reach(&mut self, address: LinkAddress, depth: u8) {
        let functions = self.binary.functions();
        let known = functions.partition_point(|function| function.address < address);
        let known = functions.get(known).filter(|function| function.address == address && function.size > 0);
        match known.and_then(|function| Body::of(self.binary, function)) {
            Some(body) => self.read_whole(&body, depth),
            None => self.follow(address, depth),
        }
    }

    fn read_whole(&mut self, body: &Body<'_>, depth: u8) {
        let mut end = body.address.0;
        for instruction in instructions(body) {
            if !self.pay() {
                return;
            }
            end = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::Return => self.found(&instruction),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    let target = LinkAddress(instruction.near_branch_target());
                    if !body.contains(target) {
                        self.leave_for(target, depth);
                    }
                }
                // A jump table's targets lie within; anything else leaves.
                FlowControl::IndirectBranch if !is_table_jump(&instruction) => {
                    self.through(&instruction, depth);
                }
                _ => {}
            }
        }
        // What is no code in the middle hides what follows.
        self.incomplete |= end < body.address.0 + body.bytes.len() as u64;
    }

    fn follow(&mut self, start: LinkAddress, depth: u8) {
        let end = self.binary.next_function(start);
        let Some(bytes) = self.binary.code(start) else {
            self.incomplete = true;
            return;
        };
        for instruction in instructions(&Body { address: start, bytes }) {
            let here = LinkAddress(instruction.ip());
            if end.is_some_and(|end| here >= end) || (here != start && !self.seen.insert(here)) || !self.pay()
            {
                return;
            }
            match instruction.flow_control() {
                FlowControl::Return => return self.found(&instruction),
                FlowControl::UnconditionalBranch => {
                    return self.branch(LinkAddress(instruction.near_branch_target()), depth);
                }
                FlowControl::ConditionalBranch => {
                    self.branch(LinkAddress(instruction.near_branch_target()), depth);
                }
                FlowControl::IndirectBranch => return self.through(&instruction, depth),
                FlowControl::Call if never_returns(self.binary, &instruction) => return,
                FlowControl::Interrupt | FlowControl::Exception => return,
                _ if instruction.mnemonic() == Mnemonic::Hlt => return,
                _ => {}
            }
        }
    }

    /// A branch in code whose end is unknown: it may stay or leave. Leaving for a known function costs depth.
    fn branch(&mut self, target: LinkAddress, depth: u8) {
        let functions = self.binary.functions();
        if functions.binary_search_by_key(&target, |function| function.address).is_ok() {
            self.leave_for(target, depth);
        } else if self.seen.insert(target) {
            self.queue.push((target, depth));
        }
    }

    fn leave_for(&mut self, target: LinkAddress, depth: u8) {
        if depth == 0 {
            self.incomplete = true;
        } else if self.seen.insert(target) {
            self.queue.push((target, depth - 1));
        }
    }

    /// A jump by the linkage table. What this file exports under that name is what it gets, unless another
    /// file's goes before it; then the `ret`s found are never reached.
    fn through(&mut self, jump: &Instruction, depth: u8) {
        let Some(callee) = import(self.binary, jump) else {
            self.incomplete = true;
            return;
        };
        let Callee::Import(name) = callee else { return };
        let exported = |function: &&Function<'_>| function.exported && function.name == name;
        match self.binary.functions().iter().find(exported) {
            Some(function) => self.leave_for(function.address, depth),
            None => self.incomplete |= !is_the_end(callee),
        }
    }

    fn found(&mut self, ret: &Instruction) {
        self.rets.insert(LinkAddress(ret.ip()));
    }

    fn pay(&mut self) -> bool {
        let left = self.budget.checked_sub(1);
        self.incomplete |= left.is_none();
        self.budget = left.unwrap_or(0);
        left.is_some()
    }
}

/// `jmp *table(,%index,8)`, or by a register: without following data that may be either, so the second is
/// taken for a tail call.
fn is_table_jump(jump: &Instruction) -> bool {
    jump.op0_kind() == OpKind::Memory && jump.memory_index() != Register::None
}

fn never_returns(binary: &Binary<'_>, call: &Instruction) -> bool {
    call.mnemonic() == Mnemonic::Call
        && destination(binary, LinkAddress(call.near_branch_target())).is_some_and(is_the_end)
}

fn is_the_end(callee: Callee<'_>) -> bool {
    matches!(callee, Callee::Import(name) if NEVER_RETURN.contains(&name))
}
