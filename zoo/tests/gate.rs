//! The gate, on as many judging seeds as a test has time for; `cargo xtask zoo` takes all of them.

use zoo::{
    JUDGING,
    class::{CLASSES, Class},
    score::{SEEN, gate, judge, judge_all},
    watch::Eyes,
};

/// Of each class: 22 that do not leak make 308 hours.
const HOURS: u64 = 14;

fn class(name: &str) -> &'static Class {
    CLASSES.iter().find(|class| class.name == name).expect("a class of this name")
}

#[test]
fn the_gate_holds_on_native_memory() {
    let outcomes = judge_all(&CLASSES, JUDGING..JUDGING + HOURS, Eyes::Native, false);
    assert!(outcomes.iter().flatten().filter(|outcome| !outcome.leaks).count() >= 300);
    let failed = gate(&outcomes);
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn the_gate_holds_by_major_collections() {
    let failed = gate(&judge_all(&CLASSES, JUDGING..JUDGING + HOURS, Eyes::Collected, false));
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn one_leak_of_many_stacks_is_one_verdict() {
    for seed in JUDGING..JUDGING + 12 {
        let outcome = judge(class("many stacks"), seed, Eyes::Native, false);
        let must = outcome.survivors >= SEEN;
        assert!(
            outcome.verdicts == 1 || !must && outcome.verdicts == 0,
            "seed {seed}: {} verdicts of {} survivors",
            outcome.verdicts,
            outcome.survivors
        );
    }
}

#[test]
fn the_same_seed_is_the_same_hour() {
    for class in &CLASSES {
        let (one, two) = (class.hour(7), class.hour(7));
        assert_eq!(one.objects, two.objects, "{}", class.name);
        assert_ne!(one.objects, class.hour(8).objects, "{}", class.name);
    }
}
