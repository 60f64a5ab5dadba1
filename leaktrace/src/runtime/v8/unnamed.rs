//! Instance types that V8's build makes no constant for: those of classes without fields of their own, which are just
//! what Maps, dictionaries and closures hold their memory in.
//!
//! Torque numbers a class's subclasses one after the other behind it, in the order of their names after those that have
//! subclasses themselves. So each of these has its number by a neighbour with a constant. The classes are in
//! [base.tq](https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/builtins/base.tq#L211-L240) and
//! [contexts.tq](https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/contexts.tq); the same in node 18 to 26,
//! where a test has each of them made.

use std::collections::{BTreeMap, BTreeSet};

use super::object::FIRST_NOT_STRING;

/// Behind the first, one after the other. Node 26 has another one behind these, node 20 other classes.
const BEHIND: [(&str, &[&str]); 2] = [
    (
        "FixedArray",
        &[
            "HashTable",
            "EphemeronHashTable",
            "GlobalDictionary",
            "NameDictionary",
            "NameToIndexHashTable",
            "NumberDictionary",
            "OrderedHashMap",
            "OrderedHashSet",
            "OrderedNameDictionary",
        ],
    ),
    ("WeakFixedArray", &["TransitionArray"]),
];
/// Right before the second.
const BEFORE: [(&str, &str); 1] = [("FeedbackMetadata", "FeedbackVector")];
/// No other row of types without constants is as long as the contexts', but for the one behind `FixedArray`.
const CONTEXTS: u16 = 10;

/// What is not among `named`, sorted by type.
pub(super) fn unnamed(named: &[(u16, String)]) -> Vec<(u16, String)> {
    let kinds = named.iter().map(|(kind, _)| *kind);
    let taken: BTreeSet<u16> = kinds.filter(|kind| *kind >= FIRST_NOT_STRING).collect();
    let of = |class: &str| named.iter().find(|(_, name)| name == class).map(|(kind, _)| *kind);
    let mut found = BTreeMap::new();
    for (kind, before) in taken.iter().zip(taken.iter().skip(1)) {
        let is_elsewhere = Some(*kind) != of("FixedArray") && *before < of("JSProxy").unwrap_or(0);
        if is_elsewhere && before - kind > CONTEXTS {
            found.extend((kind + 1..*before).map(|kind| (kind, "Context")));
        }
    }
    for (class, others) in BEHIND {
        found.extend(of(class).into_iter().flat_map(|kind| (kind + 1..).zip(others.iter().copied())));
    }
    found.extend(BEFORE.iter().filter_map(|(class, next)| Some((of(next)? - 1, *class))));
    found.retain(|kind, _| !taken.contains(kind));
    found.into_iter().map(|(kind, name)| (kind, name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(types: &[(u16, &str)]) -> Vec<(u16, String)> {
        types.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect()
    }

    #[test]
    fn types_without_constants_are_told_by_their_neighbours() {
        // Node 22's.
        let found = unnamed(&named(&[
            (174, "FixedArray"),
            (186, "ByteArray"),
            (189, "SloppyArgumentsElements"),
            (200, "UncompiledDataWithPreparseData"),
            (247, "WeakFixedArray"),
            (249, "AccessorInfo"),
            (258, "FeedbackVector"),
            (290, "JSProxy"),
        ]));
        let name = |kind: u16| found.iter().find(|one| one.0 == kind).map(|one| one.1.as_str());
        assert_eq!(name(181), Some("OrderedHashMap"));
        assert_eq!(name(178), Some("NameDictionary"));
        assert_eq!(name(184), None, "behind those that are known");
        assert_eq!((name(190), name(199)), (Some("Context"), Some("Context")));
        assert_eq!(name(248), Some("TransitionArray"));
        assert_eq!(name(257), Some("FeedbackMetadata"));
    }

    #[test]
    fn a_type_that_the_binary_names_is_not_guessed() {
        let found = unnamed(&named(&[(174, "FixedArray"), (175, "ByteArray"), (300, "JSProxy")]));
        assert!(found.iter().all(|(kind, _)| *kind != 175), "{found:?}");
    }
}
