use super::*;

const EVERY: u64 = 30_000_000_000;

/// Repeatable numbers, as splitmix64 makes them.
struct Dice(u64);

impl Dice {
    /// From 0 to below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }
}

fn census(classes: &[(u64, u64)]) -> Census {
    let amount = |(size, chunks): &(u64, u64)| {
        (SizeClass::of(*size), Amount { chunks: *chunks, bytes: size * chunks })
    };
    Census { in_use: classes.iter().map(amount).collect(), ..Census::default() }
}

/// The number of looks after which growth is told, and what of.
fn told(looks: impl IntoIterator<Item = Vec<(u64, u64)>>) -> Option<(u64, Growth)> {
    let mut all = Looks::new(1024);
    looks.into_iter().enumerate().find_map(|(number, classes)| {
        all.add(number as u64 * EVERY, 0.0, census(&classes));
        Some((number as u64 + 1, all.growth()?))
    })
}

#[test]
fn a_class_that_only_grows_is_told_after_eight_looks_with_by_how_much() {
    let looks = (0..50).map(|look| vec![(64, 1000 + 50 * look), (128, 9000)]);
    let (after, growth) = told(looks).unwrap();
    assert_eq!(after, 8);
    let class = Some(SizeClass::of(64));
    assert_eq!(growth, Growth { class, looks: 8, over_ns: 7 * EVERY, bytes: 64 * 350, chunks: 350 });
}

#[test]
fn a_heap_that_stays_as_it_is_does_not_grow() {
    assert_eq!(told((0..500).map(|_| vec![(64, 1000), (4096, 7)])), None);
}

#[test]
fn noise_of_many_classes_over_a_day_is_not_growth() {
    let mut dice = Dice(1);
    let looks = (0..2880).map(|_| (0..60).map(|class| (32 + 16 * class, 500 + dice.roll(100))).collect());
    assert_eq!(told(looks), None);
}

#[test]
fn a_slow_leak_in_noise_is_told_in_time() {
    let mut dice = Dice(2);
    // 20 blocks a look, among 0 to 99.
    let looks = (0..200).map(|look| vec![(64, 500 + dice.roll(100) + 20 * look)]);
    let (after, growth) = told(looks).unwrap();
    assert!((9..40).contains(&after), "{after}");
    assert!(growth.looks >= 8);
}

#[test]
fn what_fills_and_is_emptied_is_not_told_after_its_first_fall() {
    let sawtooth = |look: u64| vec![(64, 1000 + 100 * (look % 20))];
    assert!(told((0..200).map(sawtooth)).is_some(), "nothing tells a first rise from a leak");
    assert_eq!(told((15..400).map(sawtooth)), None);
}

#[test]
fn growth_spread_over_classes_is_told_in_all() {
    // Each class gets a block of its own now and then, which by itself is noise.
    let looks =
        (0..100).map(|look| (0..50).map(|class| (32 + 16 * class, 20 + (look + class) / 8)).collect());
    let (_, growth) = told(looks).unwrap();
    assert_eq!(growth.class, None);
}

#[test]
fn what_grows_less_than_asked_for_is_not_told() {
    // 32 blocks of 16 B in half a minute make 1 KiB a minute.
    assert_eq!(told((0..200).map(|look| vec![(32, 10 * look)])), None);
    assert!(told((0..200).map(|look| vec![(32, 20 * look)])).is_some());
}

#[test]
fn a_look_that_could_not_read_half_of_the_heap_is_left_out() {
    let mut looks = Looks::new(1024);
    let (mut left_out, mut told_at) = (0, None);
    for look in 0..20 {
        let half = look == 3;
        let chunks = 1000 + 50 * look;
        let seen = census(&[(64, if half { chunks / 2 } else { chunks })]);
        left_out += u32::from(!looks.add(look * EVERY, if half { 0.5 } else { 0.0 }, seen));
        if looks.growth().is_some() {
            told_at.get_or_insert(look + 1);
        }
    }
    // Without the one itself and the one after it, which is compared with it.
    assert_eq!((left_out, told_at), (2, Some(10)));
}
