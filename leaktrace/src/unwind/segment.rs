//! Where a binary's code lies in its file and in memory.

use object::{Object, ObjectSegment, ReadRef, SegmentFlags, elf::PF_X};

/// A loaded part of the file that holds code.
///
/// Only such are matched with mappings with code: lld lays segments out so that the first page of the code's
/// mapping holds the end of the segment before too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The binary's own address.
    pub address: u64,
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
}

impl Segment {
    /// One past its last address.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.address.saturating_add(self.size)
    }

    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }
}

/// The segments with code of a file.
pub fn executable<'d, R: ReadRef<'d>>(file: &object::File<'d, R>) -> Vec<Segment> {
    file.segments()
        .filter(|segment| is_code(segment.flags()))
        .map(|segment| {
            let (offset, size) = segment.file_range();
            Segment { address: segment.address(), offset, size }
        })
        .collect()
}

pub(super) fn is_code(flags: SegmentFlags) -> bool {
    matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.0 & PF_X.0 != 0)
}

/// What to take from addresses of a mapping to get the binary's own. `offset` and `length` are the mapping's,
/// in bytes of the file. None if the mapping holds none of the segments.
///
/// A segment that starts in the mapping's first page is the one that the mapping was made for, even if the end
/// of another is in that page too. Else the mapping is a part of one, or pages are larger than 4 KiB.
#[must_use]
pub fn bias(segments: &[Segment], start: u64, offset: u64, length: u64) -> Option<u64> {
    let starts_within =
        |length: u64| segments.iter().find(|it| it.offset >= offset && it.offset - offset < length);
    let segment = starts_within(PAGE.min(length))
        .or_else(|| segments.iter().find(|it| offset >= it.offset && offset - it.offset < it.size))
        .or_else(|| starts_within(length))?;
    let address = segment.address.wrapping_add(offset).wrapping_sub(segment.offset);
    Some(start.wrapping_sub(address))
}

/// The binary's own address of the byte at `offset` of the file, if that is code.
#[must_use]
pub fn address(segments: &[Segment], offset: u64) -> Option<u64> {
    let within = |it: &&Segment| offset >= it.offset && offset - it.offset < it.size;
    segments.iter().find(within).map(|it| it.address.wrapping_add(offset - it.offset))
}

/// The smallest page of any machine.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_comes_from_the_segment_that_the_mapping_was_made_for() {
        // As lld does it: the code starts within a page of the file, at another address than its offset.
        let segments = [
            Segment { address: 0x2540, offset: 0x1540, size: 0x9000 },
            Segment { address: 0x20_0000, offset: 0xa540, size: 0x100 },
        ];
        assert_eq!(bias(&segments, 0x5555_0000_2000, 0x1000, 0xa000), Some(0x5555_0000_0000));
        assert_eq!(bias(&segments, 0x7000_0000, 0xa000, 0x1000), Some(0x7000_0000 - 0x1f_fac0));
        // The first segment, of which a part was given another protection.
        assert_eq!(bias(&segments, 0x5555_0000_6000, 0x5000, 0x1000), Some(0x5555_0000_0000));
    }

    #[test]
    fn a_mapping_without_code_of_the_file_has_no_bias() {
        let segments = [Segment { address: 0x1000, offset: 0x1000, size: 0x1000 }];
        assert_eq!(bias(&segments, 0x7000_0000, 0x4000, 0x1000), None);
    }
}
