//! What an object is called in a report, by its instance type.

use std::{borrow::Cow, collections::HashMap};

use super::{layout::Types, object::FIRST_NOT_STRING, unnamed::unnamed};

/// Objects that V8 makes for itself, by what they are for: the first whose word is in the type's name counts.
/// Order matters: `FixedDoubleArray` is no `Array` of a program.
const INTERNAL: [(&str, &str); 22] = [
    ("BytecodeArray", "code"),
    ("Code", "code"),
    ("InstructionStream", "code"),
    ("SharedFunctionInfo", "code"),
    ("ScopeInfo", "code"),
    ("Script", "code"),
    ("Feedback", "code"),
    ("UncompiledData", "code"),
    ("Deoptimization", "code"),
    ("ByteArray", "bytes"),
    ("FixedDoubleArray", "elements of an Array"),
    ("OrderedHash", "table of a Map or Set"),
    ("SmallOrdered", "table of a Map or Set"),
    ("EphemeronHashTable", "table of a WeakMap or WeakSet"),
    ("Dictionary", "properties of an object"),
    ("PropertyArray", "properties of an object"),
    ("DescriptorArray", "shapes of objects"),
    ("TransitionArray", "shapes of objects"),
    ("Context", "variables of closures"),
    ("FixedArray", "elements of an Array"),
    ("WeakArrayList", "weak references"),
    ("WeakCell", "WeakRef"),
];

/// Names for the instance types of one version.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    names: HashMap<u16, Cow<'static, str>>,
    functions: std::ops::RangeInclusive<u16>,
}

impl Kinds {
    pub(super) fn new(types: &Types) -> Self {
        let unnamed = unnamed(&types.names);
        let known = types.names.iter().chain(&unnamed);
        let names = known.map(|(kind, name)| (*kind, plain(name))).collect();
        Self { names, functions: types.first_function..=types.last_function }
    }

    pub(super) fn name(&self, instance_type: u16) -> Option<&str> {
        if instance_type < FIRST_NOT_STRING {
            return Some("String");
        }
        if self.functions.contains(&instance_type) {
            return Some("closure");
        }
        self.names.get(&instance_type).map(|name| &**name)
    }
}

fn plain(name: &str) -> Cow<'static, str> {
    if let Some(own) = name.strip_prefix("JS") {
        return match own {
            "Object" | "ApiObject" | "SpecialApiObject" | "SpecialObject" => "Object".into(),
            "PrimitiveWrapper" => "Object".into(),
            "ArgumentsObject" => "arguments".into(),
            "BoundFunction" => "closure".into(),
            "GeneratorObject" => "generator".into(),
            "AsyncFunctionObject" => "call of an async function".into(),
            "AsyncGeneratorObject" => "async generator".into(),
            "GlobalObject" | "GlobalProxy" => "global object".into(),
            own => own.to_owned().into(),
        };
    }
    match name {
        "Map" => return "shapes of objects".into(),
        "HeapNumber" => return "Number".into(),
        "Cell" | "PropertyCell" => return "variables of closures".into(),
        _ => {}
    }
    let known = INTERNAL.into_iter().find(|(part, _)| name.contains(part));
    known.map_or_else(|| name.to_owned().into(), |(_, plain)| plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_called_what_a_programmer_calls_them() {
        let named = [
            ("JSArray", "Array"),
            ("JSMap", "Map"),
            ("JSArrayBuffer", "ArrayBuffer"),
            ("JSObject", "Object"),
            ("JSPromise", "Promise"),
            ("Map", "shapes of objects"),
            ("BytecodeArray", "code"),
            ("FixedArray", "elements of an Array"),
            ("OrderedHashMap", "table of a Map or Set"),
            ("FunctionContext", "variables of closures"),
            ("HeapNumber", "Number"),
            ("Symbol", "Symbol"),
        ];
        for (name, expected) in named {
            assert_eq!(plain(name), expected, "{name}");
        }
    }
}
