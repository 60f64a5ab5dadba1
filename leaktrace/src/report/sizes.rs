//! How large live blocks are: a range for each power of two.

use hdrhistogram::Histogram;

use super::SizeRange;

/// The first range ends here: smaller differences are of no use to a reader.
const SMALLEST: u64 = 16;

/// Digits that the histogram keeps. One is enough: powers of two are always borders of its buckets.
const DIGITS: u8 = 1;

pub(super) fn ranges(sizes: impl Iterator<Item = u64>) -> Vec<SizeRange> {
    let Ok(mut histogram) = Histogram::<u64>::new(DIGITS) else { return Vec::new() };
    for size in sizes {
        // It grows as sizes need it; only growing can fail, and then the largest range takes the size.
        if histogram.record(size).is_err() {
            histogram.saturating_record(size);
        }
    }
    let mut from = 0;
    let mut ranges = Vec::new();
    for step in histogram.iter_log(SMALLEST, 2.0) {
        let to = step.value_iterated_to();
        let count = step.count_since_last_iteration();
        if count > 0 {
            ranges.push(SizeRange { from, to, count });
        }
        from = to + 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_in_the_range_of_its_power_of_two() {
        let range = |from, to, count| SizeRange { from, to, count };
        assert_eq!(
            ranges([0, 15, 16, 31, 32, 100, 4096, 8191, 8192].into_iter()),
            [
                range(0, 15, 2),
                range(16, 31, 2),
                range(32, 63, 1),
                range(64, 127, 1),
                range(4096, 8191, 2),
                range(8192, 16383, 1)
            ]
        );
        assert_eq!(ranges(std::iter::empty()), []);
    }

    #[test]
    fn a_size_beyond_any_memory_is_counted_too() {
        for exponent in 5..62 {
            let size = (1u64 << exponent) + 3;
            let ranges = ranges([size, size].into_iter());
            assert_eq!(ranges, [SizeRange { from: 1 << exponent, to: (2 << exponent) - 1, count: 2 }]);
        }
    }
}
