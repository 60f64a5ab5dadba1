//! A heap that is watched in windows: each birth that is seen stands for several.

use super::*;

/// What is said after two hours of a stack that keeps a hundred blocks an epoch, of which ever fewer are seen. `counts` is for
/// how many births one counts that stands for so many.
fn said(counts: impl Fn(f64) -> f64) -> Vec<Judgement> {
    let mut engine = Engine::new(Settings::native(Duration::from_nanos(EPOCH)), Moment(0), 0);
    let (mut blocks, mut totals, mut said) = (Vec::new(), Totals::default(), Vec::new());
    for epoch in 0..240u64 {
        let seen = if epoch < 120 { 20u32 } else { 4 };
        let weight = 100.0 / f64::from(seen);
        for at in 0..u64::from(seen) {
            let born = Moment(epoch * EPOCH + at * EPOCH / u64::from(seen));
            blocks.push(Block { born, bytes: 1000, weight, births: counts(weight) });
        }
        totals.allocs += u64::from(seen);
        totals.alloc_bytes += 1000 * u64::from(seen);
        let end = (epoch + 1) * EPOCH;
        let work = 1e6;
        let mut ending = engine.end(Epoch { end: Moment(end), wall_ns: end, work, lost: 0, events: 100 });
        let frames = [FrameId(1)];
        let (unreachable, watched) = (Unreachable::default(), Watched::default());
        let seen = Seen { stack: StackId(7), frames: &frames, totals, deaths: &[], unreachable, watched };
        ending.stack(&seen, blocks.iter().copied());
        said = ending.judge();
    }
    said
}

#[test]
fn a_leak_is_steady_though_ever_less_of_it_is_seen() {
    let by_what_they_stand_for = said(|weight| weight);
    assert_eq!(names(&by_what_they_stand_for), ["LEAK"]);
    let rate = by_what_they_stand_for[0].evidence.rate;
    // A hundred of 1000 bytes in 30 s.
    assert!(rate.low < 3333.3 && rate.high > 3333.3 && rate.high - rate.low < 1000.0, "{rate:?}");
    // By number it seems to end.
    assert_eq!(names(&said(|_| 1.0)), ["TAKEN BACK"]);
}

#[test]
fn what_stands_for_many_says_less() {
    let [many, few] = [said(|weight| weight), said(|weight| weight / 5.0)];
    let spread = |said: &[Judgement]| said[0].evidence.spread.largest;
    assert!((spread(&many) - spread(&few)).abs() < 1e-9);
    let certain = |said: &[Judgement]| said[0].evidence.tests[1].probability;
    assert_eq!(certain(&many), certain(&few));
}
