//! Which of a process's memory is there to be read without changing anything, from /proc/PID/pagemap.
//!
//! Reading a page that is not there would put one there: in the target's memory, on its account.
//! Bits: <https://docs.kernel.org/6.12/admin-guide/mm/pagemap.html>.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, path::PathBuf};

use super::{Mapping, MappingKind, Mappings, ProcessError};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Of a file, or of anonymous memory that is shared.
const OF_FILE: u64 = 1 << 61;
/// Entries read at once: 512 KiB.
const ENTRIES: usize = 1 << 16;

const MEMORY_FILES: [&str; 3] = ["/dev/shm/", "/dev/zero", "/dev/hugepages/"];
const DEVICES: [&str; 6] = ["/dev/", "/sys/", "/proc/", "/dmabuf:", "anon_inode:", "/anon_inode:"];

/// What can be read, and what cannot though it may hold something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// By address, without overlaps.
    pub runs: Vec<Range<u64>>,
    /// Bytes that are swapped out.
    pub swapped: u64,
    /// Bytes of shared mappings that this process has not touched lately, or never: others may have.
    pub absent_shared: u64,
}

/// Held open, it stays that of the memory which the process had then, as [`super::Memory`] does.
#[derive(Debug)]
pub struct Pages {
    file: File,
    page: u64,
}

impl Pages {
    /// `page` is the size in bytes of the machine's pages.
    ///
    /// # Errors
    /// No such process, or one that this user may not look into.
    pub fn open(pid: u32, page: u64) -> Result<Self, ProcessError> {
        let path = PathBuf::from(format!("/proc/{pid}/pagemap"));
        match File::open(&path) {
            Ok(file) => Ok(Self { file, page }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ProcessError::NoSuchProcess { pid }),
            Err(error) => Err(ProcessError::of_io(pid, path, error)),
        }
    }

    /// Memory that the process itself may have written to. Untouched pages of files hold what the file holds, which is
    /// no address of this run; mappings without any permission are reserved addresses.
    ///
    /// # Errors
    /// The process has ended, or runs another program.
    pub fn resident(&self, mappings: &Mappings) -> io::Result<Resident> {
        let mut resident = Resident::default();
        let mut entries = vec![0; ENTRIES * 8];
        for mapping in mappings.iter().filter(|mapping| is_memory(mapping)) {
            let mut at = mapping.start;
            while at < mapping.end {
                let pages = ((mapping.end - at) / self.page).clamp(1, ENTRIES as u64);
                let part = &mut entries[..pages as usize * 8];
                self.file.read_exact_at(part, at / self.page * 8)?;
                for (number, entry) in (0..).zip(part.as_chunks().0) {
                    self.count(&mut resident, mapping, at + number * self.page, u64::from_ne_bytes(*entry));
                }
                at += pages * self.page;
            }
        }
        Ok(resident)
    }

    fn count(&self, resident: &mut Resident, mapping: &Mapping, at: u64, entry: u64) {
        if entry & PRESENT != 0 {
            if entry & OF_FILE == 0 || mapping.writable {
                match resident.runs.last_mut() {
                    Some(last) if last.end == at => last.end += self.page,
                    _ => resident.runs.push(at..at + self.page),
                }
            }
        } else if entry & SWAPPED != 0 {
            resident.swapped += self.page;
        } else if mapping.shared && mapping.writable {
            resident.absent_shared += self.page;
        }
    }
}

/// Not what the kernel shows of its own, and no device: reading one may act on it.
fn is_memory(mapping: &Mapping) -> bool {
    match &mapping.kind {
        MappingKind::Anonymous { .. } => mapping.accessible,
        MappingKind::File { path, .. } => {
            let path = path.to_string_lossy();
            let is_of = |kinds: &[&str]| kinds.iter().any(|kind| path.starts_with(kind));
            mapping.accessible && (is_of(&MEMORY_FILES) || !is_of(&DEVICES))
        }
        MappingKind::Vdso | MappingKind::Vvar | MappingKind::Vsyscall => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_touched_is_there_and_one_that_was_not_is_left_alone() {
        let pid = std::process::id();
        // Larger than the allocator keeps at hand: of its own mapping, zeroed by the kernel.
        let mut memory = vec![0u8; 1 << 26];
        memory[1 << 25] = 1;
        let touched = memory.as_ptr() as u64 + (1 << 25);
        let untouched = touched - (1 << 23);
        let resident = Pages::open(pid, 4096).unwrap().resident(&Mappings::read(pid).unwrap()).unwrap();
        let holds = |address| resident.runs.iter().any(|run| run.contains(&address));
        assert!(holds(touched));
        assert!(!holds(untouched));
        assert!(holds((&raw const pid) as u64), "a stack is there");
        assert!(resident.runs.is_sorted_by(|a, b| a.end < b.start));
        assert_eq!(memory[1 << 25], 1);
    }

    #[test]
    fn devices_and_what_the_kernel_shows_are_not_read() {
        let text = b"1000-2000 rw-s 0 00:05 7 /dev/dri/card0\n2000-3000 rw-s 0 00:05 8 /dev/shm/queue\n\
            3000-4000 r--p 0 00:00 0 [vvar]\n4000-5000 rw-p 0 00:00 0 \n5000-6000 ---p 0 00:00 0 \n\
            6000-7000 rw-s 0 00:0e 9 anon_inode:[io_uring]\n7000-8000 rw-s 0 00:01 9 /memfd:x (deleted)\n";
        let mappings = Mappings::parse(text).unwrap();
        let read: Vec<u64> = mappings.iter().filter(|m| is_memory(m)).map(|m| m.start).collect();
        assert_eq!(read, [0x2000, 0x4000, 0x7000]);
    }
}
