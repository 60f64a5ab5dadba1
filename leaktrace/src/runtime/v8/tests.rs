//! The decoder on what was recorded of a process, and on what nobody should find in one.

mod recorded;
mod strings;

use self::recorded::Recorded;
use super::{Builtins, Decoder, FunctionSeen, NotRead, Tier};

fn decoder(recorded: &Recorded) -> Decoder {
    Decoder::new(recorded.layout(), Builtins::default())
}

#[test]
fn a_recorded_process_is_named_without_it() {
    let recorded = Recorded::read();
    let mut decoder = decoder(&recorded);
    let mut lines = String::new();
    for (seen, at) in &recorded.frames {
        decoder.learn(&recorded, seen).unwrap();
        for frame in decoder.frame(&recorded, seen.key, *at) {
            assert_eq!(frame.missing, None);
            let (line, column) = (frame.line.unwrap(), frame.column.unwrap());
            let inlined = if frame.inlined { ", inlined" } else { "" };
            lines +=
                &format!("{} at {}:{line}:{column} {:?}{inlined}\n", frame.function, frame.file, frame.tier);
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn names_and_places_outlive_the_memory_they_were_read_from() {
    let mut recorded = Recorded::read();
    let mut decoder = decoder(&recorded);
    let frames = recorded.frames.clone();
    for (seen, _) in &frames {
        decoder.learn(&recorded, seen).unwrap();
    }
    recorded.forget();
    for (seen, at) in frames {
        let frame = decoder.frame(&recorded, seen.key, at).pop().unwrap();
        assert_eq!(decoder.name(seen.key), Some(&*frame.function));
        match frame.tier {
            Tier::Interpreted => assert_eq!(frame.missing, None),
            // What is left is where the function begins.
            tier => assert_eq!((tier, frame.missing), (Tier::Unknown, Some(NotRead::NoCode))),
        }
        assert!(frame.line.is_some());
    }
}

#[test]
fn what_has_moved_is_said_to_have_moved() {
    let recorded = Recorded::read();
    let mut decoder = decoder(&recorded);
    let (first, second) = (recorded.frames[0].0, recorded.frames[1].0);
    assert_ne!(first.key, second.key);
    let stale = FunctionSeen { function: second.function, shared: second.shared, ..first };
    assert_eq!(decoder.learn(&recorded, &stale), Err(NotRead::Moved));
    assert_eq!(decoder.name(first.key), None);
    assert_eq!(decoder.losses().collect::<Vec<_>>(), [(NotRead::Moved, 1)]);
    // One of the two is enough.
    let half = FunctionSeen { function: 0x1001, ..first };
    assert_eq!(decoder.learn(&recorded, &half), Ok(()));
    let half = FunctionSeen { shared: first.function, ..second };
    assert_eq!(decoder.learn(&recorded, &half), Err(NotRead::Moved));
}

/// Scripts whose names a collection was moving were called `<anonymous>` to the end, and had no lines.
#[test]
fn a_script_whose_name_is_being_moved_is_read_again() {
    let mut recorded = Recorded::read();
    let mut decoder = decoder(&recorded);
    let (seen, at) = recorded.frames[0];
    let layout = recorded.layout();
    let script = recorded.word(seen.shared - 1 + u64::from(layout.shared.script));
    let name = recorded.word(script - 1 + u64::from(layout.script.name));
    let map = recorded.word(name - 1);
    // Where it lies from now on, without the mark of a pointer.
    recorded.put(name - 1, 0x1234_5678);
    assert_eq!(decoder.learn(&recorded, &seen), Err(NotRead::Moved));
    recorded.put(name - 1, map);
    assert_eq!(decoder.learn(&recorded, &seen), Ok(()));
    let frame = decoder.frame(&recorded, seen.key, at).pop().unwrap();
    assert!(frame.file.ends_with("chain.cjs") && frame.line.is_some(), "{frame:?}");
}

/// Memory that changes while it is read, or was made to be read wrong, ends in an answer.
#[test]
fn broken_memory_is_survived() {
    let mut recorded = Recorded::read();
    let frames = recorded.frames.clone();
    let mut random: u64 = 1;
    for _ in 0..400 {
        let mut decoder = decoder(&recorded);
        recorded.spoil(|| {
            // Of Knuth; the high bits are the better ones.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        });
        for (seen, at) in &frames {
            let _ = decoder.learn(&recorded, seen);
            assert!(!decoder.frame(&recorded, seen.key, *at).is_empty());
        }
        recorded.mend();
    }
}
