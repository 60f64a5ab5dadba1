//! Recordings of each version stay readable: one of each is kept.

use super::*;

/// Recorded by [`the_kept_recording_is_written_anew`] when that version was made, all of the same moments; what a report had no field
/// for then differs.
const KEPT: [&[u8]; 3] =
    [include_bytes!("v1.ltrace"), include_bytes!("v2.ltrace"), include_bytes!("v3.ltrace")];

#[test]
fn a_recording_of_each_version_is_read_as_it_was() {
    for (version, file) in (1..).zip(KEPT) {
        assert_eq!(file[8], version, "what it says of itself");
        let (found, rest) = read(file).unwrap();
        assert_eq!((found.len(), rest), (4, Rest::Ended));
        let [text, _] = rendered(found.last().unwrap());
        insta::assert_snapshot!(format!("version_{version}"), text.replace('\u{1b}', ""));
    }
}

#[test]
fn one_of_this_version_is_kept_too() {
    assert_eq!(
        KEPT.len(),
        VERSION as usize,
        "write it: cargo test -p leaktrace --lib -- --ignored written_anew"
    );
}

/// For the next version, beside these.
#[test]
#[ignore = "it replaces what old recordings are tested by"]
fn the_kept_recording_is_written_anew() {
    let path = format!("{}/src/recording/tests/v{VERSION}.ltrace", env!("CARGO_MANIFEST_DIR"));
    std::fs::write(path, recorded(&reports(1, 4))).unwrap();
}
