//! Rows of numbers, kept column by column: what is alike stands together, so that it packs well.
//!
//! As bytes: the number of rows, then each column's length and its bytes. A number is seven bits a byte, the lowest
//! first, and the high bit says that more follow (LEB128); one that may be below zero is folded first (0, -1, 1, -2).
//! <https://protobuf.dev/programming-guides/encoding/#varints>

use super::error::Malformed;

/// Rows as they are gathered; `N` columns.
#[derive(Debug)]
pub(super) struct Batch<const N: usize> {
    rows: u64,
    columns: [Vec<u8>; N],
}

impl<const N: usize> Batch<N> {
    pub(super) fn new() -> Self {
        Self { rows: 0, columns: [const { Vec::new() }; N] }
    }

    /// The row whose fields follow. Not each row has something in each column.
    pub(super) const fn row(&mut self) {
        self.rows += 1;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn put(&mut self, column: usize, number: u64) {
        put(&mut self.columns[column], number);
    }

    pub(super) fn put_signed(&mut self, column: usize, number: i64) {
        self.put(column, ((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// A number that is as good as random, which seven bits a byte make longer.
    pub(super) fn put_random(&mut self, column: usize, number: u64) {
        self.columns[column].extend(number.to_le_bytes());
    }

    /// Eight bits of a number whose others stand elsewhere.
    pub(super) fn put_byte(&mut self, column: usize, byte: u8) {
        self.columns[column].push(byte);
    }

    /// Bytes gathered.
    pub(super) fn size(&self) -> usize {
        self.columns.iter().map(Vec::len).sum()
    }

    /// All rows as bytes; none are left.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size() + 4 * N);
        put(&mut bytes, std::mem::take(&mut self.rows));
        for column in &mut self.columns {
            put(&mut bytes, column.len() as u64);
            bytes.append(column);
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Rows as they are read.
#[derive(Debug)]
pub(super) struct Rows<'a, const N: usize> {
    left: u64,
    columns: [&'a [u8]; N],
}

impl<'a, const N: usize> Rows<'a, N> {
    pub(super) fn of(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let left = next(&mut bytes)?;
        let mut columns = [&[][..]; N];
        for column in &mut columns {
            let length = usize::try_from(next(&mut bytes)?).map_err(|_| Malformed("a column's length"))?;
            (*column, bytes) = bytes.split_at_checked(length).ok_or(Malformed("a column's length"))?;
        }
        // Each row has something in the first column at least.
        if left > columns.first().map_or(0, |first| first.len() as u64) {
            return Err(Malformed("a number of rows"));
        }
        Ok(Self { left, columns })
    }

    /// Whether there is one more row, to be read now.
    pub(super) const fn row(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }

    pub(super) fn get(&mut self, column: usize) -> Result<u64, Malformed> {
        next(&mut self.columns[column])
    }

    pub(super) fn get_signed(&mut self, column: usize) -> Result<i64, Malformed> {
        let folded = self.get(column)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    pub(super) fn get_random(&mut self, column: usize) -> Result<u64, Malformed> {
        let (bytes, rest) =
            self.columns[column].split_first_chunk().ok_or(Malformed("a column that ends early"))?;
        self.columns[column] = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(super) fn get_byte(&mut self, column: usize) -> Result<u8, Malformed> {
        let (byte, rest) = self.columns[column].split_first().ok_or(Malformed("a column that ends early"))?;
        self.columns[column] = rest;
        Ok(*byte)
    }

    pub(super) fn get_u32(&mut self, column: usize) -> Result<u32, Malformed> {
        u32::try_from(self.get(column)?).map_err(|_| Malformed("a number above its range"))
    }

    /// How many fields of this column follow in this row: never more than it has bytes.
    pub(super) fn get_count(&mut self, column: usize, of: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.get(column)?).ok();
        count.filter(|count| *count <= self.columns[of].len()).ok_or(Malformed("a number of fields"))
    }
}

fn next(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Malformed("a column that ends early"))?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(Malformed("a number above 64 bits"));
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed("a number above 64 bits"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_put(rows in prop::collection::vec((any::<u64>(), any::<i64>()), 0..50)) {
            let mut batch = Batch::<4>::new();
            for (one, other) in &rows {
                batch.row();
                batch.put(0, *one);
                batch.put_signed(1, *other);
                batch.put_random(2, *one);
                batch.put_byte(3, *other as u8);
            }
            let bytes = batch.take();
            prop_assert!(batch.is_empty() && batch.size() == 0);
            let mut read = Rows::<4>::of(&bytes).unwrap();
            for (one, other) in rows {
                prop_assert!(read.row());
                prop_assert_eq!((read.get(0).unwrap(), read.get_signed(1).unwrap()), (one, other));
                prop_assert_eq!((read.get_random(2).unwrap(), read.get_byte(3).unwrap()), (one, other as u8));
            }
            prop_assert!(!read.row());
            prop_assert!(read.get(0).is_err() && read.get_byte(3).is_err(), "nothing is left");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(mut rows) = Rows::<3>::of(&bytes) {
                for _ in 0..100 {
                    let _ = (rows.row(), rows.get(0), rows.get_signed(1), rows.get_count(2, 2));
                }
            }
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused_before_anything_is_made_of_it() {
        let mut bytes = Vec::new();
        for number in [1, u64::MAX] {
            put(&mut bytes, number);
        }
        assert!(Rows::<1>::of(&bytes).is_err());
        assert!(Rows::<1>::of(&[200, 1, 0]).is_err(), "200 rows in no bytes");
        assert!(next(&mut &[0xff; 10][..]).is_err(), "more than 64 bits");
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(next(&mut &most[..]).unwrap(), u64::MAX);
    }
}
