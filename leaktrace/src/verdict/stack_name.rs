//! A stack's id as data: in hex, as it has more bits than a number of JSON keeps for every reader.

use leaktrace_common::stack::StackId;
use serde::Serializer;

/// `0x00f3..`, the same in every part of a report.
#[must_use]
pub fn stack_name(stack: StackId) -> String {
    format!("{:#018x}", stack.0)
}

pub(super) fn one<S: Serializer>(stack: &StackId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&stack_name(*stack))
}

pub(super) fn each<S: Serializer>(stacks: &[StackId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(stacks.iter().map(|stack| stack_name(*stack)))
}
