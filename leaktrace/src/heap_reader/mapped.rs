//! Blocks that have a mapping of their own, which no list of malloc's holds: they are found where mappings begin, where
//! another such block ends, and, as long as `mp_` counts more of them than that, at any page.

use std::ops::Range;

use super::{
    chunk::{Chunk, ChunkState, HEADER, MAPPED, NOT_MAIN, PREVIOUS_IN_USE, size_of},
    find::Parameters,
    layout::Layout,
    words::{pair, word},
};
use crate::process::{MappingKind, Mappings, ReadUser};

const PAGE: u64 = 4096;
/// Pages that are looked at one by one: 16 GiB of memory, some seconds. Blocks beyond are missing from the count.
const MOST_PAGES: u64 = 4 << 20;
/// In the offset of a block in huge pages (`MMAP_HP`, 2.43).
const HUGE: u64 = 1;
/// Largest alignment looked for in a block that was moved to one.
const LARGEST_ALIGNMENT: u32 = 30;

/// Blocks with mappings of their own, by address.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    pub(super) chunks: Vec<Chunk>,
    pub(super) bytes: u64,
}

/// Those that can be found. `arenas` are addresses that belong to arenas, by address; `resident` gives what of the
/// memory is there, and is asked only where pages have to be searched.
pub(super) fn find(
    memory: &impl ReadUser,
    layout: &Layout,
    mappings: &Mappings,
    arenas: &[Range<u64>],
    parameters: &Parameters,
    resident: impl FnOnce() -> Vec<Range<u64>>,
) -> Mapped {
    let mut found = Mapped::default();
    if parameters.mmaps == 0 {
        return found;
    }
    let areas = areas(mappings, arenas);
    // Where blocks did not follow one another any more.
    let mut rest = Vec::new();
    for area in &areas {
        let end = found.follow(memory, layout, area);
        if end < area.end {
            rest.push(end..area.end);
        }
    }
    let mut pages = 0;
    if !found.has_all(parameters) {
        'search: for run in within(&resident(), &rest) {
            let mut at = run.start;
            while at < run.end {
                let end = found.follow(memory, layout, &(at..run.end));
                pages += 1;
                if found.has_all(parameters) || pages == MOST_PAGES {
                    break 'search;
                }
                at = end.max(at + PAGE);
            }
        }
    }
    found.chunks.sort_unstable_by_key(|chunk| chunk.address);
    found
}

/// Whether the block at `address` has a mapping of its own.
pub(super) fn is_block(memory: &impl ReadUser, layout: &Layout, mappings: &Mappings, address: u64) -> bool {
    let mapping_of = || {
        let header = address.checked_sub(HEADER)?;
        let (offset, size) = pair(memory, header)?;
        let offset = offset & !HUGE;
        let total = offset.checked_add(size_of(size))?.checked_add(layout.mapped_header)?;
        let start = header.checked_sub(offset)?;
        let fits = size & (MAPPED | NOT_MAIN | PREVIOUS_IN_USE) == MAPPED
            && start.is_multiple_of(PAGE)
            && total.is_multiple_of(PAGE)
            && total > 0;
        fits.then_some((start, start.checked_add(total)?))
    };
    mapping_of().is_some_and(|(start, end)| mappings.find(start).is_some_and(|mapping| end <= mapping.end))
}

impl Mapped {
    fn has_all(&self, parameters: &Parameters) -> bool {
        self.chunks.len() as u64 >= u64::from(parameters.mmaps) || self.bytes >= parameters.mmapped_bytes
    }

    /// Takes blocks from the area's start on; where they end.
    fn follow(&mut self, memory: &impl ReadUser, layout: &Layout, area: &Range<u64>) -> u64 {
        let mut at = area.start;
        while at < area.end {
            let Some((chunk, total)) = block_at(memory, layout, at, area.end) else { break };
            self.chunks.push(chunk);
            self.bytes += total;
            at += total;
        }
        at
    }
}

/// The block whose mapping begins at `start`, and the bytes of that.
fn block_at(memory: &impl ReadUser, layout: &Layout, start: u64, end: u64) -> Option<(Chunk, u64)> {
    let (offset, field) = pair(memory, start)?;
    let total = size_of(field).checked_add(layout.mapped_header)?;
    let fits = offset & !HUGE == 0
        && field & (MAPPED | NOT_MAIN | PREVIOUS_IN_USE) == MAPPED
        && total.is_multiple_of(PAGE)
        && total > 0
        && total <= end - start;
    if !fits {
        return None;
    }
    let lead = lead(memory, layout, start, total);
    let address = start + lead + HEADER;
    let size = total - lead;
    let usable = size.checked_sub(layout.mapped_overhead)?;
    Some((Chunk { address, size, usable, state: ChunkState::InUse, mapped: true }, total))
}

/// memalign leaves the first header as it was and writes another where the block is aligned.
fn lead(memory: &impl ReadUser, layout: &Layout, start: u64, total: u64) -> u64 {
    let mut page = [0; PAGE as usize];
    if !memory.read(start, &mut page) {
        return 0;
    }
    for power in 5..=LARGEST_ALIGNMENT {
        let alignment = 1 << power;
        let first = (start + HEADER).next_multiple_of(alignment) - start - HEADER;
        // A lead that is too small for a chunk is made larger.
        for lead in [first, first + alignment] {
            if lead + HEADER >= total || lead == 0 {
                continue;
            }
            let header = match (word(&page, lead as usize), word(&page, lead as usize + 8)) {
                (Some(offset), Some(size)) => Some((offset, size)),
                _ => pair(memory, start + lead),
            };
            let size = total - lead - layout.mapped_header;
            if header.is_some_and(|(offset, field)| offset & !HUGE == lead && field == size | MAPPED) {
                return lead;
            }
        }
        if first >= total {
            break;
        }
    }
    0
}

/// Where malloc may have mapped something.
fn areas(mappings: &Mappings, arenas: &[Range<u64>]) -> Vec<Range<u64>> {
    let may = |kind: &MappingKind| match kind {
        MappingKind::Anonymous { name: None } => true,
        MappingKind::Anonymous { name: Some(name) } => name.trim_start().starts_with("glibc: malloc"),
        _ => false,
    };
    let mut areas: Vec<Range<u64>> = mappings
        .iter()
        .filter(|mapping| mapping.writable && !mapping.shared && may(&mapping.kind))
        .map(|mapping| mapping.start..mapping.end)
        .collect();
    for arena in arenas {
        let outside = |area: Range<u64>| {
            let (before, behind) =
                (area.start..area.end.min(arena.start), area.start.max(arena.end)..area.end);
            [before, behind].into_iter().filter(|part| part.start < part.end)
        };
        areas = areas.into_iter().flat_map(outside).collect();
    }
    areas
}

/// What of `runs` lies in one of `areas`; both by address.
fn within(runs: &[Range<u64>], areas: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    for area in areas {
        let from = runs.partition_point(|run| run.end <= area.start);
        for run in runs[from..].iter().take_while(|run| run.start < area.end) {
            parts.push(run.start.max(area.start)..run.end.min(area.end));
        }
    }
    parts
}
