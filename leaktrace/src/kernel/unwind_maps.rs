//! The kernel's maps that hold unwind tables: memory that is written in place, and each process's entry.

#![allow(unsafe_code, reason = "chunks of the arena are mapped memory")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{ArrayOfMaps, Map, MapData},
};
use leaktrace_common::{
    process::ProcessId,
    unwind::{CHUNK_WORDS, ProcessTable},
};
use memmap2::{MmapMut, MmapOptions};

use super::{Kernel, LoadError, tables};
use crate::unwind::{arena::Chunks, tables::Processes};

/// Numbers of the kernel's interface, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The map `ARENA`.
pub struct UnwindMemory {
    chunks: ArrayOfMaps<MapData>,
    count: u32,
}

/// A chunk's memory. The map lives as long as the outer one refers to it, the memory as long as the mapping.
pub struct Chunk(MmapMut);

impl AsMut<[u32]> for Chunk {
    fn as_mut(&mut self) -> &mut [u32] {
        let words = self.0.as_mut_ptr().cast();
        // SAFETY: the mapping is `CHUNK_WORDS` words long, aligned to a page, and only written through this
        // borrow; the kernel side only reads it.
        unsafe { std::slice::from_raw_parts_mut(words, CHUNK_WORDS) }
    }
}

impl AsRef<[u32]> for Chunk {
    fn as_ref(&self) -> &[u32] {
        let words = self.0.as_ptr().cast();
        // SAFETY: as above, and nobody else writes it.
        unsafe { std::slice::from_raw_parts(words, CHUNK_WORDS) }
    }
}

impl Chunks for UnwindMemory {
    type Chunk = Chunk;

    fn grow(&mut self) -> io::Result<Chunk> {
        let bytes = CHUNK_WORDS * 4;
        let parameters =
            aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY, 4, bytes as u32, 1, BPF_F_MMAPABLE);
        let chunk = MapData::create(parameters, "unwind_chunk", None).map_err(io::Error::other)?;
        self.chunks.set(self.count, &chunk, 0).map_err(io::Error::other)?;
        self.count += 1;
        // SAFETY: a map's memory does not shrink, and nobody else in this process maps it.
        let mapped = unsafe { MmapOptions::new().len(bytes).map_mut(chunk.fd().as_fd().as_raw_fd())? };
        Ok(Chunk(mapped))
    }
}

/// The map `UNWIND_TABLES`.
pub struct UnwindEntries(MapData);

impl Processes for UnwindEntries {
    fn publish(&mut self, process: ProcessId, table: ProcessTable) -> io::Result<()> {
        tables::insert(self.0.fd().as_fd(), &process, &table)
    }

    fn withdraw(&mut self, process: ProcessId) -> io::Result<()> {
        match tables::remove(self.0.fd().as_fd(), &process) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The maps for [`crate::unwind::tables::Tables`]; once only.
///
/// # Errors
/// The object does not hold them.
pub fn take(ebpf: &mut Ebpf) -> Result<(UnwindMemory, UnwindEntries), LoadError> {
    let arena = ebpf.take_map("ARENA").ok_or(LoadError::NotInObject("ARENA"))?;
    let chunks = ArrayOfMaps::try_from(arena).map_err(|_| LoadError::NotInObject("ARENA"))?;
    match ebpf.take_map("UNWIND_TABLES") {
        Some(Map::HashMap(entries)) => Ok((UnwindMemory { chunks, count: 0 }, UnwindEntries(entries))),
        _ => Err(LoadError::NotInObject("UNWIND_TABLES")),
    }
}

impl Kernel {
    /// See [`take`].
    pub fn take_unwind_maps(&mut self) -> Result<(UnwindMemory, UnwindEntries), LoadError> {
        take(&mut self.ebpf)
    }
}
