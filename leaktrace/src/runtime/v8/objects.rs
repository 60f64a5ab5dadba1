//! From constants and version to a [`Layout`].
//!
//! What V8 names no constant for is known by version, see docs/v8.md: seen in node 18 to 26, and checked on the live
//! process before it is trusted.

use super::{
    constants::Constants,
    layout::{Bytecode, Code, Deopt, Function, Layout, Map, Scope, Script, Shared, Types, Version},
};

/// Names of the constants that a binary lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing(pub(super) Vec<String>);

/// Asks for constants and keeps in mind which were not there, so that all of them can be named at once.
struct Asked<'a> {
    constants: &'a Constants<'a>,
    missing: Missing,
}

impl Asked<'_> {
    fn field(&mut self, name: &str) -> u32 {
        self.first_of(&[name])
    }

    /// The first that is there: fields were renamed.
    fn first_of(&mut self, names: &[&str]) -> u32 {
        let found = names.iter().find_map(|name| self.constants.field(name));
        self.or_missing(found, &format!("class_{}", names[0]))
    }

    fn value(&mut self, name: &str) -> u32 {
        let found = self.constants.value(name).and_then(|value| u32::try_from(value).ok());
        self.or_missing(found, name)
    }

    fn instance_type(&mut self, class: &str) -> u16 {
        let found = self.constants.instance_type(class);
        self.or_missing(found, &format!("type_{class}"))
    }

    fn or_missing<T: Default>(&mut self, found: Option<T>, name: &str) -> T {
        found.unwrap_or_else(|| {
            self.missing.0.push(name.to_owned());
            T::default()
        })
    }
}

/// What is read of `Map`s and instance types alone: enough to say what an object is, and which frames are of
/// JavaScript.
pub(super) fn map_and_types(constants: &Constants<'_>) -> Result<(Map, Types), Missing> {
    let mut asked = Asked { constants, missing: Missing::default() };
    let map = Map {
        instance_type: asked.field("Map__instance_type"),
        instance_size: asked.field("Map__instance_size_in_words"),
        constructor: asked.field("Map__constructor_or_back_pointer"),
    };
    let js_function = asked.instance_type("JSFunction");
    let bound = |name: &str| constants.value(name).and_then(|value| u16::try_from(value).ok());
    let types = Types {
        map: asked.instance_type("Map"),
        shared: asked.instance_type("SharedFunctionInfo"),
        script: asked.instance_type("Script"),
        scope: asked.instance_type("ScopeInfo"),
        code: asked.instance_type("Code"),
        bytecode_array: asked.instance_type("BytecodeArray"),
        debug_info: constants.instance_type("DebugInfo"),
        first_function: bound("FirstJSFunctionType").unwrap_or(js_function),
        // V8 names the bounds since 12. A class's constructor has the last one: read off running node 18 and 20.
        last_function: bound("LastJSFunctionType").unwrap_or(js_function + 15),
        // Below are only WebAssembly's objects, whose maps have something else where the constructor is.
        first_object: asked.instance_type("JSProxy"),
        names: constants.instance_types(),
    };
    asked.missing.none_or((map, types))
}

pub(super) fn shared_and_script(constants: &Constants<'_>) -> Result<(Shared, Script), Missing> {
    let mut asked = Asked { constants, missing: Missing::default() };
    let shared = Shared {
        // The first field behind the map; renamed and typed anew several times, never moved.
        data: constants.field("SharedFunctionInfo__function_data").unwrap_or(8),
        name_or_scope: asked.field("SharedFunctionInfo__name_or_scope_info"),
        script: asked.first_of(&["SharedFunctionInfo__script", "SharedFunctionInfo__script_or_debug_info"]),
        // Stands behind the flags.
        literal: asked.field("SharedFunctionInfo__flags") + 4,
    };
    let line_ends = asked.field("Script__line_ends");
    let script = Script {
        source: asked.field("Script__source"),
        name: asked.field("Script__name"),
        line_ends,
        // Stands behind the line ends.
        id: line_ends + 8,
    };
    asked.missing.none_or((shared, script))
}

pub(super) fn function(constants: &Constants<'_>, version: Version) -> Result<Function, Missing> {
    let mut asked = Asked { constants, missing: Missing::default() };
    let shared = asked.field("JSFunction__shared");
    // V8 11.3 has the field but no constant for it.
    let known = (version < Version::new(11, 7, 368)).then_some(shared + 0x18);
    let function = Function { shared, code: constants.field("JSFunction__code").or(known) };
    asked.missing.none_or(function)
}

/// Everything; `bytecode_sizes` are the binary's `Bytecodes::kBytecodeSizes`.
pub(super) fn layout(
    constants: &Constants<'_>,
    version: Version,
    bytecode_sizes: Option<&[u8]>,
) -> Result<Layout, Missing> {
    let mut asked = Asked { constants, missing: Missing::default() };
    let function = asked.part(function(constants, version));
    let shared_and_script = asked.part(shared_and_script(constants));
    let map_and_types = asked.part(map_and_types(constants));
    let scope = Scope {
        local_count: asked.value("scopeinfo_idx_ncontextlocals"),
        first_local: asked.value("scopeinfo_idx_first_vars"),
        fixed_positions: version >= Version::new(12, 8, 44),
    };
    let sizes = asked.or_missing(bytecode_sizes.map(<[u8]>::to_vec), "Bytecodes::kBytecodeSizes");
    let bytecode = Bytecode {
        length: constants.field("BytecodeArray__length").unwrap_or(8),
        data: asked.field("BytecodeArray__data"),
        source_positions: if version < Version::new(12, 0, 0) { 0x20 } else { 0x18 },
        sizes,
        new_positions: version >= Version::new(14, 0, 0),
    };
    let code = asked.code(version);
    let index = |name: &str, before: u32| {
        let value = constants.value(&format!("DeoptimizationData{name}Index"));
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(before)
    };
    // V8 10 has them at the same places without constants.
    let deopt = Deopt {
        inlined_count: index("InlinedFunctionCount", 1),
        literals: index("LiteralArray", 2),
        inlining_positions: index("InliningPositions", 7),
    };
    match (function, shared_and_script, map_and_types) {
        (Some(function), Some((shared, script)), Some((map, types))) => asked.missing.none_or(Layout {
            version,
            function,
            shared,
            script,
            scope,
            bytecode,
            code,
            deopt,
            map,
            types,
        }),
        _ => Err(asked.missing),
    }
}

impl Asked<'_> {
    fn part<T>(&mut self, part: Result<T, Missing>) -> Option<T> {
        part.map_err(|missing| self.missing.0.extend(missing.0)).ok()
    }

    /// `Code` has no constants in V8 11, and in V8 10 only some.
    fn code(&mut self, version: Version) -> Code {
        let baseline = self.value("CodeKindBaseline");
        if version < Version::new(11, 1, 204) {
            let [start, size, flags] = [0x80, 0x28, 0x30];
            return Code {
                deopt: 0x10,
                source_positions: 0x18,
                start,
                is_split: false,
                size,
                flags,
                baseline,
            };
        }
        if version < Version::new(12, 0, 0) {
            let size = if version < Version::new(11, 4, 59) { 0x38 } else { 0x34 };
            let [start, flags] = [0x28, 0x30];
            return Code {
                deopt: 0x10,
                source_positions: 0x18,
                start,
                is_split: true,
                size,
                flags,
                baseline,
            };
        }
        Code {
            deopt: 8,
            source_positions: 0x10,
            start: self.field("Code__instruction_start"),
            is_split: true,
            size: self.field("Code__instruction_size"),
            flags: self.field("Code__flags"),
            baseline,
        }
    }
}

impl Missing {
    fn none_or<T>(self, found: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(found) } else { Err(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let constants = Constants::of(&[("class_Map__instance_type__uint16_t", 12)]);
        let Missing(names) = layout(&constants, Version::new(12, 4, 254), None).unwrap_err();
        for name in ["class_JSFunction__shared", "type_Map", "Bytecodes::kBytecodeSizes", "CodeKindBaseline"]
        {
            assert!(names.iter().any(|missing| missing == name), "{name} in {names:?}");
        }
        assert!(!names.iter().any(|missing| missing == "class_Map__instance_type"));
    }

    #[test]
    fn a_function_leads_to_its_code_directly_until_a_table_came_between() {
        let constants = Constants::of(&[("class_JSFunction__shared__SharedFunctionInfo", 0x18)]);
        assert_eq!(function(&constants, Version::new(11, 3, 244)).unwrap().code, Some(0x30));
        assert_eq!(function(&constants, Version::new(13, 6, 233)).unwrap().code, None);
    }
}
