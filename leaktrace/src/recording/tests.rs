//! What is written is read, to the byte; what is damaged is told.

mod damaged;
mod kept;
mod size;
mod world;

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::report::{
    Colour, Exporter, Json, Options, Report, Text,
    tests::{judged::judged, report as of_books},
};
use world::{S, World};

/// As a person and a program read it.
fn rendered(report: &Report) -> [String; 2] {
    let text = Text { top: 1000, verbose: true, colour: Colour::Always, width: 120 };
    [&text as &dyn Exporter, &Json].map(|exporter| {
        let mut out = Vec::new();
        exporter.write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    })
}

/// The file of these moments.
fn recorded(reports: &[Report]) -> Vec<u8> {
    let (mut writer, mut file) = (Writer::new().unwrap(), Vec::new());
    for (at, report) in reports.iter().enumerate() {
        writer.moment(report, at + 1 == reports.len(), &mut file).unwrap();
    }
    file
}

/// All moments of a file, and how it goes on.
fn read(file: &[u8]) -> Result<(Vec<Report>, Rest), Unreadable> {
    let mut reader = Reader::new(Cursor::new(file))?;
    let mut reports = Vec::new();
    while let Some(next) = reader.peek()? {
        assert_eq!(reader.next_moment()?, Some(next));
        reports.extend(reader.report());
    }
    Ok((reports, reader.rest()))
}

fn reports(seed: u64, moments: usize) -> Vec<Report> {
    let mut world = World::new(seed);
    world.functions(12);
    (0..6).for_each(|_| world.stack(4));
    let mut report = || {
        for _ in 0..world.random.below(30) {
            let ns = world.random.below(S);
            world.event(ns);
        }
        (0..world.random.below(5)).for_each(|_| world.turn());
        world.report()
    };
    (0..moments).map(|_| report()).collect()
}

proptest! {
    #[test]
    fn every_moment_is_read_as_it_was_reported(seed: u64) {
        let reports = reports(seed, 6);
        let (found, rest) = read(&recorded(&reports)).unwrap();
        prop_assert_eq!(rest, Rest::Ended);
        prop_assert_eq!(found.len(), reports.len());
        for (found, report) in found.iter().zip(&reports) {
            prop_assert_eq!(rendered(found), rendered(report));
            prop_assert_eq!(found, report);
        }
    }
}

/// Of the real builder, whose order of lists is what a recording relies on.
#[test]
fn reports_of_the_books_are_read_as_they_were() {
    let plain = [0, 12]
        .map(|older| Options { older_than_ns: older * S, ..Options::default() })
        .map(|options| of_books(options, 3));
    let stretches = [(4, false), (20, false), (100, false), (100, true)];
    let with_verdicts = stretches.map(|(epochs, freed)| judged(epochs, freed, 0));
    let reports = [&plain[..], &with_verdicts[..]].concat();
    let (found, rest) = read(&recorded(&reports)).unwrap();
    assert_eq!(rest, Rest::Ended);
    for (found, report) in found.iter().zip(&reports) {
        assert_eq!(rendered(found), rendered(report));
    }
    assert_eq!(found, reports);
}

#[test]
fn what_did_not_change_takes_next_to_nothing() {
    let mut world = World::new(7);
    world.functions(500);
    (0..2000).for_each(|_| world.stack(20));
    (0..5000).for_each(|_| world.event(1000));
    let first = world.report();
    let one = recorded(std::slice::from_ref(&first)).len();
    // A minute later all is older, and nothing else.
    world.now += 60 * S;
    let two = recorded(&[first, world.report()]).len();
    assert!(one > 40_000, "{one}");
    assert!(two - one < 2000, "{one} {two}");
}

#[test]
fn a_moment_that_could_not_be_written_leaves_no_gap() {
    let reports = reports(3, 4);
    let mut writer = Writer::new().unwrap();
    let mut file = Vec::new();
    writer.moment(&reports[0], false, &mut file).unwrap();
    let whole = file.len();
    // The disk is full after some bytes.
    let mut room = vec![0; 700];
    assert!(writer.moment(&reports[1], false, &mut room.as_mut_slice()).is_err());
    assert_eq!(file.len(), whole);
    writer.moment(&reports[2], false, &mut file).unwrap();
    writer.moment(&reports[3], true, &mut file).unwrap();
    let (found, rest) = read(&file).unwrap();
    assert_eq!(rest, Rest::Ended);
    assert_eq!(found, [reports[0].clone(), reports[2].clone(), reports[3].clone()]);
}

#[test]
fn a_first_moment_that_could_not_be_written_is_made_up_for() {
    let reports = reports(4, 2);
    let mut writer = Writer::new().unwrap();
    assert!(writer.moment(&reports[0], false, &mut [0; 3].as_mut_slice()).is_err());
    let mut file = Vec::new();
    writer.moment(&reports[1], true, &mut file).unwrap();
    assert_eq!(read(&file).unwrap(), (vec![reports[1].clone()], Rest::Ended));
}

#[test]
fn to_look_when_the_next_moment_is_changes_nothing_of_this_one() {
    let reports = reports(5, 2);
    let mut writer = Writer::new().unwrap();
    let mut file = Vec::new();
    writer.moment(&reports[0], false, &mut file).unwrap();
    assert!(writer.moment(&reports[1], false, &mut [0; 3].as_mut_slice()).is_err());
    // Begins anew.
    writer.moment(&reports[1], true, &mut file).unwrap();
    let mut reader = Reader::new(Cursor::new(&file)).unwrap();
    assert!(reader.report().is_none());
    reader.next_moment().unwrap();
    assert_eq!(reader.peek().unwrap(), Some(reports[1].traced_ns));
    assert_eq!(reader.report().unwrap(), reports[0]);
}
