//! The `v8dbg_` constants, and how they are asked for.
//!
//! V8's build makes them for post-mortem debuggers, see the head of [`super::layout`]. A field's constant has its
//! type at the end of its name, which changes more often than the field: `..__Object`, `..__Tagged_Object_`.

use std::{
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
};

use crate::binary::variables::Variables;

pub(super) const PREFIX: &str = "v8dbg_";

/// Names without their prefix, and values.
#[derive(Debug, Default)]
pub(super) struct Constants<'data>(BTreeMap<&'data str, i32>);

impl<'data> Constants<'data> {
    pub(super) fn read(variables: &Variables<'data>) -> Self {
        let constants = variables.beginning_with(PREFIX).filter_map(|(name, variable)| {
            Some((name.strip_prefix(PREFIX)?, variables.number(variable.address)?))
        });
        Self(constants.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn value(&self, name: &str) -> Option<i32> {
        self.0.get(name).copied()
    }

    /// Offset of a class's field, whatever its type is called: `SharedFunctionInfo__script`.
    pub(super) fn field(&self, name: &str) -> Option<u32> {
        let prefix = format!("class_{name}__");
        let (_, value) = self.beginning_with(&prefix).next()?;
        u32::try_from(value).ok()
    }

    /// Instance type of a class.
    pub(super) fn instance_type(&self, class: &str) -> Option<u16> {
        let prefix = format!("type_{class}__");
        let (_, value) = self.beginning_with(&prefix).next()?;
        u16::try_from(value).ok()
    }

    /// All instance types with their classes' names, sorted.
    pub(super) fn instance_types(&self) -> Vec<(u16, String)> {
        let mut types: Vec<_> = self
            .beginning_with("type_")
            .filter_map(|(name, value)| {
                let (class, _) = name.strip_prefix("type_")?.split_once("__")?;
                Some((u16::try_from(value).ok()?, class.to_owned()))
            })
            .collect();
        types.sort();
        types.dedup();
        types
    }

    fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&'data str, i32)> {
        self.0
            .range::<str, _>((Included(prefix), Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (*name, *value))
    }
}

#[cfg(test)]
impl Constants<'static> {
    pub(super) fn of(constants: &[(&'static str, i32)]) -> Self {
        Self(constants.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_whatever_its_type_is_called_and_not_taken_for_a_longer_name() {
        let constants = Constants::of(&[
            ("class_SharedFunctionInfo__script_or_debug_info__HeapObject", 0x20),
            ("class_SharedFunctionInfo__scripts__Object", 0x40),
        ]);
        assert_eq!(constants.field("SharedFunctionInfo__script"), None);
        assert_eq!(constants.field("SharedFunctionInfo__script_or_debug_info"), Some(0x20));
        let newer = Constants::of(&[("class_SharedFunctionInfo__script__Tagged_HeapObject_", 0x28)]);
        assert_eq!(newer.field("SharedFunctionInfo__script"), Some(0x28));
    }

    #[test]
    fn instance_types_are_sorted_and_named_by_their_classes() {
        let constants = Constants::of(&[
            ("type_ScriptOrModule__SCRIPT_OR_MODULE_TYPE", 0xa8),
            ("type_Script__SCRIPT_TYPE", 0xa7),
            ("type_JSFunction__JS_FUNCTION_TYPE", 0x812),
        ]);
        assert_eq!(constants.instance_type("Script"), Some(0xa7));
        let names = constants.instance_types();
        assert_eq!(names[0], (0xa7, "Script".to_owned()));
        assert_eq!(names[2], (0x812, "JSFunction".to_owned()));
    }

    #[test]
    fn an_offset_below_zero_is_none() {
        let constants = Constants::of(&[("class_Map__instance_type__uint16_t", -1)]);
        assert_eq!(constants.field("Map__instance_type"), None);
    }
}
