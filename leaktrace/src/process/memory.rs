//! Another process's memory, read while it runs.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf};

use super::ProcessError;

/// What reads the memory of a process, at the process's addresses: the running one, or one that was recorded.
pub trait ReadUser {
    /// Fills all of `into` from `address` on. Whether that could be done; if not, `into` holds anything.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes).then_some(bytes)
    }

    /// `length` comes from the process: callers have bounded it.
    fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes).then_some(bytes)
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    fn u32(&self, address: u64) -> Option<u32> {
        self.array(address).map(u32::from_le_bytes)
    }
}

/// Memory of a running process, by /proc/PID/mem, which stays open: it leads to the memory that the process had when
/// it was opened, and to none after that has ended or executed another program.
#[derive(Debug)]
pub struct Memory {
    file: File,
}

impl Memory {
    /// # Errors
    /// No such process, or one whose memory this user may not read.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let path = PathBuf::from(format!("/proc/{pid}/mem"));
        match File::open(&path) {
            Ok(file) => Ok(Self { file }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ProcessError::NoSuchProcess { pid })
            }
            Err(error) => Err(ProcessError::of_io(pid, path, error)),
        }
    }
}

impl ReadUser for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.file.read_exact_at(into, address).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_this_process_is_read_from_outside() {
        let known = *b"a leak in sight";
        let memory = Memory::open(std::process::id()).unwrap();
        let mut read = [0; 15];
        assert!(memory.read(known.as_ptr() as u64, &mut read));
        assert_eq!(read, known);
    }

    #[test]
    fn an_address_that_is_not_mapped_is_not_read() {
        let memory = Memory::open(std::process::id()).unwrap();
        for address in [0, 1 << 47, u64::MAX - 3] {
            assert!(!memory.read(address, &mut [0; 8]), "{address:#x}");
        }
    }

    #[test]
    fn a_process_that_is_not_there_has_no_memory() {
        assert!(matches!(Memory::open(0x3fff_ffff), Err(ProcessError::NoSuchProcess { .. })));
    }
}
