//! Files that are cut, damaged, or something else.

use super::{super::block, *};

/// Three moments; where each of them ends.
fn sample() -> (Vec<u8>, Vec<usize>, Vec<Report>) {
    let reports = reports(11, 3);
    let (mut writer, mut file, mut ends) = (Writer::new().unwrap(), Vec::new(), Vec::new());
    for (at, report) in reports.iter().enumerate() {
        writer.moment(report, at == 2, &mut file).unwrap();
        ends.push(file.len());
    }
    (file, ends, reports)
}

/// Moments that end before this place.
fn whole(ends: &[usize], place: usize) -> usize {
    ends.iter().filter(|end| **end <= place).count()
}

#[test]
fn cut_at_any_byte_it_is_read_up_to_its_last_whole_moment() {
    let (file, ends, reports) = sample();
    for cut in 0..file.len() {
        let whole = whole(&ends, cut);
        match read(&file[..cut]) {
            Ok((found, rest)) => {
                assert_eq!(found, reports[..whole], "cut at {cut}");
                let bytes = (cut - ends[whole - 1]) as u64;
                let expected = if bytes == 0 { Rest::Unended } else { Rest::Cut { bytes } };
                assert_eq!(rest, expected, "cut at {cut}");
            }
            Err(error) => {
                assert_eq!(whole, 0, "cut at {cut}: {error}");
                let is_told =
                    matches!(error, Unreadable::Empty | Unreadable::Foreign | Unreadable::NoMoment { .. });
                assert!(is_told, "cut at {cut}: {error}");
            }
        }
    }
}

#[test]
fn whatever_byte_is_damaged_what_is_before_it_is_read_and_the_loss_is_told() {
    let (file, ends, reports) = sample();
    for place in 0..file.len() {
        for mask in [1, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[place] ^= mask;
            let whole = whole(&ends, place);
            match read(&damaged) {
                Ok((found, rest)) => {
                    assert_eq!(found, reports[..whole], "{place}");
                    assert!(matches!(rest, Rest::Damaged { .. } | Rest::Cut { .. }), "{place}: {rest:?}");
                }
                Err(Unreadable::Foreign) => assert!(place < block::MAGIC.len(), "{place}"),
                Err(Unreadable::Beginning) => assert!((8..block::HEADER).contains(&place), "{place}"),
                Err(Unreadable::NoMoment { .. }) => assert_eq!(whole, 0, "{place}"),
                Err(error) => panic!("{place}: {error}"),
            }
        }
    }
}

#[test]
fn a_block_that_is_missing_or_there_twice_is_damage() {
    let (file, ends, reports) = sample();
    let second = &file[ends[0]..ends[1]];
    let twice = [&file[..ends[1]], second, &file[ends[1]..]].concat();
    let without = [&file[..ends[0]], &file[ends[1]..]].concat();
    for (damaged, whole) in [(twice, 2), (without, 1)] {
        let (found, rest) = read(&damaged).unwrap();
        assert_eq!(found, reports[..whole]);
        assert!(matches!(rest, Rest::Damaged { .. }), "{rest:?}");
    }
}

#[test]
fn what_follows_the_end_is_not_ours() {
    let (mut file, _, reports) = sample();
    file.extend(b"more");
    let (found, rest) = read(&file).unwrap();
    assert_eq!((found, rest), (reports, Rest::Cut { bytes: 4 }));
}

#[test]
fn other_files_are_named_as_such_with_what_to_type() {
    let said = |file: &[u8]| read(file).unwrap_err().to_string();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0";
    for foreign in [&b"{\"schema\":\"leaktrace-report\"}"[..], png, &[0; 100], b"\x89ltr"] {
        let said = said(foreign);
        assert!(said.contains("no recording") && said.contains("leaktrace record"), "{said}");
    }
    assert!(said(b"").contains("empty"));
    let newer = said(&block::header(VERSION + 1));
    assert!(newer.contains(&format!("format {}", VERSION + 1)) && newer.contains("newer"), "{newer}");
    assert!(said(&block::header(0)).contains("format 0"));
    let none = said(&block::header(VERSION));
    assert!(none.contains("no whole moment") && none.contains("--epoch"), "{none}");
}

/// Blocks whose checksums are right, in a file.
fn forged(blocks: &[(block::Kind, Vec<u8>)]) -> Vec<u8> {
    let (mut packer, mut file) = (block::Packer::new().unwrap(), block::header(VERSION).to_vec());
    for (kind, bytes) in blocks {
        packer.write(*kind, bytes, &mut file).unwrap();
    }
    file
}

#[test]
fn lengths_that_no_memory_has_are_not_believed() {
    let (file, _, _) = sample();
    for (place, length) in [(21, u32::MAX), (25, u32::MAX), (25, 1 << 30)] {
        let mut damaged = file.clone();
        damaged[place..place + 4].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(read(&damaged), Err(Unreadable::NoMoment { .. })), "{place}");
    }
    // 64 MiB in a block of a few bytes, with its checksum: taken apart, and no more than that.
    let bomb = forged(&[(block::Kind::Begin, vec![0xc1; 64 << 20]), (block::Kind::Last, Vec::new())]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    assert!(matches!(read(&bomb), Err(Unreadable::Malformed { .. })));
}

const KINDS: [block::Kind; 12] = [
    block::Kind::Begin,
    block::Kind::Anew,
    block::Kind::Strings,
    block::Kind::Frames,
    block::Kind::Stacks,
    block::Kind::Changes,
    block::Kind::Gone,
    block::Kind::Processes,
    block::Kind::Cycles,
    block::Kind::Verdicts,
    block::Kind::FirstStacks,
    block::Kind::FirstChanges,
];

/// A whole file's blocks, unpacked.
fn blocks(file: &[u8]) -> Vec<(block::Kind, Vec<u8>)> {
    let (mut rest, mut number, mut blocks) = (&file[block::HEADER..], 0, Vec::new());
    while let block::Found::Block(one) = block::Block::read(&mut rest, number).unwrap() {
        blocks.push((block::Kind::try_from(one.kind).unwrap(), one.unpack().unwrap()));
        number += 1;
    }
    blocks
}

proptest! {
    /// As a fuzzer would: behind the checksums, where damage is not told by them.
    #[test]
    fn no_contents_make_it_panic(
        at in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        is in any::<u8>(),
        kind in prop::sample::select(&KINDS[..]),
        with in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (file, _, _) = sample();
        let whole = blocks(&file);
        let at = at.index(whole.len());
        let mut changed = whole.clone();
        if !changed[at].1.is_empty() {
            let place = place.index(changed[at].1.len());
            changed[at].1[place] = is;
        }
        let _ = read(&forged(&changed));
        let mut other = whole.clone();
        other[at].0 = kind;
        let _ = read(&forged(&other));
        let mut more = whole;
        more.insert(at, (kind, with));
        let _ = read(&forged(&more));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&[&block::header(VERSION)[..], &bytes].concat());
    }
}
