//! The rest of a stack that was cut short for want of unwind tables, as the kernel side copied it.

use leaktrace_common::{
    event::RecordKind,
    process::ProcessId,
    stack::StackId,
    unfinished::{COPIED_WORDS, PENDING, PendingReturn, UNFINISHED_HEADER, UnfinishedRecord},
    unwind::Registers,
};
use zerocopy::{FromZeros, IntoBytes};

/// Not an [`super::Event`]: it says nothing for the books until the stack is finished, which then is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    pub id: StackId,
    pub process: ProcessId,
    pub tgid: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// Where the kernel side stopped.
    pub registers: Registers,
    pub pending: [PendingReturn; PENDING],
    /// The stack from `registers.stack_pointer` on.
    pub words: Vec<u64>,
}

impl Unfinished {
    /// None for a record of another kind, or one shorter than it says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != (RecordKind::Unfinished as u32).to_ne_bytes() {
            return None;
        }
        let mut record = UnfinishedRecord::new_zeroed();
        let sent = bytes.len().min(size_of::<UnfinishedRecord>());
        record.as_mut_bytes()[..sent].copy_from_slice(&bytes[..sent]);
        let UnfinishedRecord { kind: _, process, id, tgid, count, at, registers, pending, words } = record;
        let count = count as usize;
        if count > COPIED_WORDS || bytes.len() < UNFINISHED_HEADER + 8 * count {
            return None;
        }
        Some(Self {
            id: StackId(id),
            process: ProcessId(process),
            tgid,
            at,
            registers,
            pending,
            words: words[..count].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_has_as_many_words_as_it_says_or_is_refused() {
        let mut record = UnfinishedRecord::new_zeroed();
        record.kind = RecordKind::Unfinished as u32;
        record.id = 7;
        record.count = 2;
        record.words[..3].copy_from_slice(&[1, 2, 3]);
        let bytes = record.as_bytes();
        let decoded = Unfinished::decode(&bytes[..UNFINISHED_HEADER + 16]).unwrap();
        assert_eq!((decoded.id, decoded.words), (StackId(7), vec![1, 2]));
        assert_eq!(Unfinished::decode(&bytes[..UNFINISHED_HEADER + 15]), None);
        record.count = u32::MAX;
        assert_eq!(Unfinished::decode(record.as_bytes()), None);
        record.kind = RecordKind::Stack as u32;
        assert_eq!(Unfinished::decode(record.as_bytes()), None);
    }
}
