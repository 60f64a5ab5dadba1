//! Amounts as a person reads them.

use std::collections::BTreeMap;

use bytesize::ByteSize;

pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// `1,234,567`
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A change: `+1.0 KiB`, `-3 B`
pub(super) fn signed(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", bytes(change.unsigned_abs()))
}

/// `1 block`, `2 blocks`
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `+1 block`, `-2 blocks`
pub(super) fn signed_count(change: i64, noun: &str) -> String {
    let sign = if change < 0 { '-' } else { '+' };
    format!("{sign}{}", counted(change.unsigned_abs(), noun))
}

/// How often there is each: `1 LEAK, 2 SUSPECT`
pub(super) fn tally<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *numbers.entry(name).or_default() += 1);
    numbers.iter().map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

/// A pause of a program: to a tenth of a millisecond.
pub(crate) fn pause(ns: u64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

/// The two largest units at most.
#[must_use]
pub fn duration(ns: u64) -> String {
    let (ms, s) = (ns / 1_000_000, ns / 1_000_000_000);
    let two = |large: u64, unit: &str, small: u64, below: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {below}"),
    };
    match s {
        0 if ms == 0 => "under 1 ms".to_owned(),
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s / 60 % 60, "min"),
        _ => two(s / 86_400, "d", s / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        let shown = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "block"), counted(2000, "block")], ["1 block", "2,000 blocks"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        const S: u64 = 1_000_000_000;
        let shown = [5, 2_000_000, 59 * S, 60 * S, 3_725 * S, 100_000 * S].map(duration);
        assert_eq!(shown, ["under 1 ms", "2 ms", "59 s", "1 min", "1 h 2 min", "1 d 3 h"]);
    }
}
