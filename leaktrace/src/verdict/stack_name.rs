//! A stack's id as data: in hex, as it has more bits than a number of JSON keeps for every reader.

use leaktrace_common::stack::StackId;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// `0x00f3..`, the same in every part of a report.
#[must_use]
pub fn stack_name(stack: StackId) -> String {
    format!("{:#018x}", stack.0)
}

/// The stack that a name stands for; none of what [`stack_name`] does not give.
#[must_use]
pub fn stack_of_name(name: &str) -> Option<StackId> {
    let id = u64::from_str_radix(name.strip_prefix("0x")?, 16).ok().map(StackId)?;
    (stack_name(id) == name).then_some(id)
}

pub(super) fn one<S: Serializer>(stack: &StackId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&stack_name(*stack))
}

pub(super) fn each<S: Serializer>(stacks: &[StackId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(stacks.iter().map(|stack| stack_name(*stack)))
}

pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StackId, D::Error> {
    let name = String::deserialize(deserializer)?;
    stack_of_name(&name).ok_or_else(|| D::Error::custom("not the name of a stack"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_given_are_read() {
        for id in [0, 1, 0x00f3_0000_0000_0001, u64::MAX] {
            assert_eq!(stack_of_name(&stack_name(StackId(id))), Some(StackId(id)));
        }
        for name in ["", "0x", "1", "0x1", "0x+000000000000001", "0x00F3000000000001"] {
            assert_eq!(stack_of_name(name), None, "{name}");
        }
    }
}
