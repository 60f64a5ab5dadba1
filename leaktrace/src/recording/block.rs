//! Blocks: each is whole or it is not, whatever becomes of the others.
//!
//! A file begins with [`MAGIC`], the format's version and a checksum of both. Then follow blocks: kind, number (from 0),
//! packed and unpacked length, CRC-32 of all of these and of the packed bytes, and the bytes, packed by zstd. Numbers
//! are little-endian. The number tells a block that is missing or there twice.

use std::io::{self, Read, Write};

use super::error::{Malformed, Rest, Unreadable};

/// Not a text's beginning, and damaged by what takes it for one, as PNG's.
/// <https://www.w3.org/TR/png-3/#5PNG-file-signature>
pub(super) const MAGIC: [u8; 8] = *b"\x89ltrace\n";

/// Of the layout of blocks. A block's own layout never changes: another one is another [`Kind`], which readers before it
/// do not know, so that it raises this too.
pub const VERSION: u32 = 3;

/// Bytes before the first block.
pub(super) const HEADER: usize = 16;
const BLOCK_HEADER: usize = 17;

/// Bytes unpacked at which a block is written. What is gathered is what recording takes of memory beside its tables.
pub(super) const FULL: usize = 1 << 20;

/// The most that a block holds unpacked; a damaged length asks for no more. One verdict may be about a million stacks,
/// each named in it by 19 bytes.
const MOST: usize = 64 << 20;

/// Level 3 is zstd's own default: a third of what level 1 leaves more is saved, at twice its time.
const LEVEL: i32 = 3;

/// What a block holds. The numbers are the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A moment begins: [`super::moment::Begin`].
    Begin = 1,
    /// Everything known so far does not count: a moment with everything follows.
    Anew = 2,
    Strings = 3,
    Frames = 4,
    /// Rows as version 1 wrote them; read only.
    FirstStacks = 5,
    FirstChanges = 6,
    Gone = 7,
    Processes = 8,
    Cycles = 9,
    Verdicts = 10,
    /// The moment is whole.
    End = 11,
    /// The same, and it is the last one.
    Last = 12,
    /// Rows as version 2 wrote them; read only.
    SecondStacks = 13,
    Changes = 14,
    Stacks = 15,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Begin,
        Self::Anew,
        Self::Strings,
        Self::Frames,
        Self::FirstStacks,
        Self::FirstChanges,
        Self::Gone,
        Self::Processes,
        Self::Cycles,
        Self::Verdicts,
        Self::End,
        Self::Last,
        Self::SecondStacks,
        Self::Changes,
        Self::Stacks,
    ];

    pub(super) const fn ends_moment(self) -> bool {
        matches!(self, Self::End | Self::Last)
    }
}

impl TryFrom<u8> for Kind {
    type Error = Malformed;

    fn try_from(number: u8) -> Result<Self, Malformed> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u8 == number);
        known.ok_or(Malformed("a kind of block that is not known"))
    }
}

/// What a file begins with.
pub(super) fn header(version: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Reads a file's beginning.
pub(super) fn read_header(file: &mut impl Read) -> Result<(), Unreadable> {
    let mut found = Vec::with_capacity(HEADER);
    file.by_ref().take(HEADER as u64).read_to_end(&mut found)?;
    let is_ours = found.len() >= MAGIC.len() && found.starts_with(&MAGIC);
    match found.first_chunk::<HEADER>() {
        _ if found.is_empty() => Err(Unreadable::Empty),
        _ if !is_ours => Err(Unreadable::Foreign),
        Some(whole) => {
            let version = u32::from_le_bytes([whole[8], whole[9], whole[10], whole[11]]);
            match version {
                _ if *whole != header(version) => Err(Unreadable::Beginning),
                1..=VERSION => Ok(()),
                version => Err(Unreadable::Newer { version }),
            }
        }
        None => Err(Unreadable::NoMoment { rest: Rest::Cut { bytes: found.len() as u64 } }),
    }
}

/// Packs and writes blocks.
pub(super) struct Packer {
    number: u32,
    zstd: zstd::bulk::Compressor<'static>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { number: 0, zstd: zstd::bulk::Compressor::new(LEVEL)? })
    }

    /// Of the next block.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Blocks from this one on were not written after all.
    pub(super) const fn back_to(&mut self, number: u32) {
        self.number = number;
    }

    /// Returns how many bytes were written.
    pub(super) fn write(&mut self, kind: Kind, unpacked: &[u8], out: &mut dyn Write) -> io::Result<u64> {
        if unpacked.len() > MOST {
            return Err(io::Error::other("a single row of it is larger than 64 MiB"));
        }
        let packed = self.zstd.compress(unpacked)?;
        let mut header = Vec::with_capacity(BLOCK_HEADER);
        header.push(kind as u8);
        header.extend(self.number.to_le_bytes());
        header.extend((packed.len() as u32).to_le_bytes());
        header.extend((unpacked.len() as u32).to_le_bytes());
        header.extend(checksum(&header, &packed).to_le_bytes());
        self.number = self.number.wrapping_add(1);
        out.write_all(&header)?;
        out.write_all(&packed)?;
        Ok((BLOCK_HEADER + packed.len()) as u64)
    }
}

fn checksum(header: &[u8], packed: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(packed);
    sum.finalize()
}

/// A block as it is in the file.
pub(super) struct Block {
    pub(super) kind: u8,
    packed: Vec<u8>,
    unpacked: usize,
}

/// What is where a block should begin.
pub(super) enum Found {
    Block(Block),
    /// The file's end.
    Nothing,
    /// Bytes that are the beginning of a block.
    Part,
    /// Not what was written there.
    Damaged,
}

impl Block {
    /// The next one, which has to have this number. The length is believed for as many bytes as there are.
    pub(super) fn read(file: &mut impl Read, number: u32) -> io::Result<Found> {
        let mut header = Vec::with_capacity(BLOCK_HEADER);
        file.by_ref().take(BLOCK_HEADER as u64).read_to_end(&mut header)?;
        let Some(whole) = header.first_chunk::<BLOCK_HEADER>() else {
            return Ok(if header.is_empty() { Found::Nothing } else { Found::Part });
        };
        let word = |at: usize| u32::from_le_bytes([whole[at], whole[at + 1], whole[at + 2], whole[at + 3]]);
        let (length, unpacked) = (word(5), word(9) as usize);
        if word(1) != number || unpacked > MOST {
            return Ok(Found::Damaged);
        }
        let mut packed = Vec::new();
        file.by_ref().take(length.into()).read_to_end(&mut packed)?;
        if packed.len() < length as usize {
            return Ok(Found::Part);
        }
        if word(13) != checksum(&whole[..13], &packed) {
            return Ok(Found::Damaged);
        }
        Ok(Found::Block(Self { kind: whole[0], packed, unpacked }))
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        (BLOCK_HEADER + self.packed.len()) as u64
    }

    pub(super) fn unpack(&self) -> Result<Vec<u8>, Malformed> {
        let unpacked = zstd::bulk::decompress(&self.packed, self.unpacked);
        let unpacked = unpacked.map_err(|_| Malformed("a block that cannot be unpacked"))?;
        if unpacked.len() == self.unpacked { Ok(unpacked) } else { Err(Malformed("a block's length")) }
    }
}
