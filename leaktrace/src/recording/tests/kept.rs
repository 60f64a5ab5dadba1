//! Recordings of each version stay readable: one of each is kept.

use super::*;

/// Recorded by [`the_kept_recording_is_written_anew`] when version 1 was made.
const V1: &[u8] = include_bytes!("v1.ltrace");

#[test]
fn a_recording_of_version_1_is_read_as_it_was() {
    let (found, rest) = read(V1).unwrap();
    assert_eq!((found.len(), rest), (4, Rest::Ended));
    let [text, _] = rendered(found.last().unwrap());
    insta::assert_snapshot!(text.replace('\u{1b}', ""));
}

/// For the next version, beside this one: `cargo test -p leaktrace -- --ignored written_anew`.
#[test]
#[ignore = "it replaces what old recordings are tested by"]
fn the_kept_recording_is_written_anew() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/recording/tests/v1.ltrace");
    std::fs::write(path, recorded(&reports(1, 4))).unwrap();
}
