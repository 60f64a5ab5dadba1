//! One pass over a process's memory.

use std::ops::Range;

use super::{blocks::Blocks, mark::Mark};
use crate::process::ReadUser;

/// Bytes read at once. /proc/PID/mem takes the target's lock for a page at a time, so a larger piece delays it no more.
const PIECE: u64 = 256 << 10;
/// Reached blocks closer than this are read together.
const NEAR: u64 = 4 << 10;
/// Blocks that are sorted together before they are read.
const BATCH: usize = 16 << 10;
/// The machine's smallest page: what is read again by itself where a piece could not be read whole.
const PAGE: u64 = 4096;

/// What a pass read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) bytes: u64,
    /// Bytes that were there when the pass began and could not be read.
    pub(super) vanished: u64,
}

/// Marks from all of `roots` and then what is reached from there. `runs` is the memory that may be read, by address.
pub(super) fn pass(
    mark: &mut Mark<'_>,
    blocks: &Blocks,
    memory: &impl ReadUser,
    runs: &[Range<u64>],
    roots: impl Iterator<Item = Range<u64>>,
) -> Read {
    let mut reader = Reader { memory, buffer: vec![0; PIECE as usize], read: Read::default() };
    for run in roots {
        reader.each(run, &mut |at, bytes| mark.roots(at, bytes));
    }
    loop {
        let batch = mark.take_pending(BATCH);
        if batch.is_empty() {
            return reader.read;
        }
        for group in
            batch.chunk_by(|a, b| blocks.memory(*b as usize).start < blocks.memory(*a as usize).end + NEAR)
        {
            let of = |block: &u32| blocks.memory(*block as usize);
            let whole = group.first().map_or(0, |block| of(block).start)
                ..group.iter().map(|block| of(block).end).max().unwrap_or(0);
            for run in within(runs, &whole) {
                reader.each(run, &mut |at, bytes| {
                    let end = at + bytes.len() as u64;
                    let from = group.partition_point(|block| of(block).end <= at);
                    for memory in group[from..].iter().map(of).take_while(|memory| memory.start < end) {
                        let part = memory.start.max(at)..memory.end.min(end);
                        if part.start < part.end {
                            let bytes = &bytes[(part.start - at) as usize..(part.end - at) as usize];
                            mark.words(part.start, bytes);
                        }
                    }
                });
            }
        }
    }
}

/// The parts of `runs` in `whole`.
fn within<'a>(runs: &'a [Range<u64>], whole: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let Range { start, end } = *whole;
    let from = runs.partition_point(|run| run.end <= start);
    let inside = runs[from..].iter().take_while(move |run| run.start < end);
    inside.map(move |run| run.start.max(start)..run.end.min(end))
}

struct Reader<'a, M> {
    memory: &'a M,
    buffer: Vec<u8>,
    read: Read,
}

impl<M: ReadUser> Reader<'_, M> {
    fn each(&mut self, run: Range<u64>, take: &mut impl FnMut(u64, &[u8])) {
        let mut at = run.start;
        while at < run.end {
            // Pieces end where words do.
            let end = run.end.min((at + PIECE) / 8 * 8);
            if self.piece(at..end).is_some_and(|bytes| {
                take(at, bytes);
                true
            }) {
                self.read.bytes += end - at;
            } else {
                self.by_pages(at..end, take);
            }
            at = end;
        }
    }

    fn by_pages(&mut self, run: Range<u64>, take: &mut impl FnMut(u64, &[u8])) {
        let mut at = run.start;
        while at < run.end {
            let end = run.end.min((at / PAGE + 1) * PAGE);
            match self.piece(at..end) {
                Some(bytes) => {
                    take(at, bytes);
                    self.read.bytes += end - at;
                }
                None => self.read.vanished += end - at,
            }
            at = end;
        }
    }

    fn piece(&mut self, range: Range<u64>) -> Option<&[u8]> {
        let bytes = &mut self.buffer[..(range.end - range.start) as usize];
        self.memory.read(range.start, bytes).then_some(&*bytes)
    }
}
