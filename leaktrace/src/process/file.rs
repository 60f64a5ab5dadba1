//! The file behind a mapping, held open.
//!
//! A path in /proc/PID/maps may lead elsewhere by now (an upgrade replaced the file, it was deleted) or mean
//! something else here (a container's mount namespace). /proc/PID/map_files leads to the mapped file itself
//! but wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; else the path is taken under the process's root, and
//! only if device and inode are those of the mapping. On btrfs maps shows another device than stat does, so
//! there the first way is the only one.
//!
//! Files are read into memory, not mapped: a mapped file that someone truncates raises SIGBUS, which would end
//! the agent with its probes attached. The bytes are needed only while hooks are looked up.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{Device, Mapping, MappingKind, ProcessError, Root};

/// More than any program known (debug builds of browsers); a file above is refused rather than memory filled.
const LARGEST: u64 = 4 << 30;

/// Tells a file's content without reading it: an inode that is free is given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl FileId {
    /// # Errors
    /// As [`File::metadata`].
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// An open program or library. While it is held, [`OpenBinary::probe_path`] leads to it.
#[derive(Debug)]
pub struct OpenBinary {
    file: File,
    /// With `inode`, as this machine's stat numbers it: equal for two mappings of one file.
    pub device: u64,
    pub inode: u64,
    /// To show, not to open.
    pub display: PathBuf,
    /// Below which `display` leads to it.
    root: PathBuf,
}

impl OpenBinary {
    /// Opens the file that process `pid` has mapped; none where the mapping has no file.
    ///
    /// # Errors
    /// The file is out of reach, or the path holds another one.
    pub fn behind(pid: u32, mapping: &Mapping) -> Result<Option<Self>, ProcessError> {
        let MappingKind::File { device, inode, path, deleted } = &mapping.kind else { return Ok(None) };
        let exact: PathBuf = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end).into();
        // Told of late, the range may hold another file by now. Of the device see above.
        let is_it = |found: &Metadata| found.is_file() && found.ino() == *inode;
        // Asked before it is opened: a device may be mapped, and acts when it is.
        let is_there = exact.metadata().is_ok_and(|found| is_it(&found));
        let file = is_there.then(|| File::open(&exact).ok()).flatten();
        if let Some(file) = file.filter(|file| file.metadata().is_ok_and(|found| is_it(&found))) {
            return Self::held(file, path, Root::of(pid))
                .map(Some)
                .map_err(|error| ProcessError::of_io(pid, exact, error));
        }
        if *deleted {
            return Err(ProcessError::Replaced { pid, path: path.clone() });
        }
        // The process's own root first; ours where the process is gone already. The process may have put anything
        // at the path since: a link out of its root, a pipe that nobody writes to.
        let below = |root: &Path| Root::at(root)?.open(path);
        let rooted = Root::of(pid).join(path.strip_prefix("/").unwrap_or(path));
        let (root, rooted, file) = match below(&Root::of(pid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ("/".into(), path.clone(), below(Path::new("/")))
            }
            result => (Root::of(pid), rooted, result),
        };
        let unreadable = |error| ProcessError::of_io(pid, rooted.clone(), error);
        let file = file.map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        let found_device = Device { major: libc::major(found.dev()), minor: libc::minor(found.dev()) };
        if (found_device, found.ino()) != (*device, *inode) {
            return Err(ProcessError::Replaced { pid, path: path.clone() });
        }
        Self::held(file, path, root).map(Some).map_err(unreadable)
    }

    /// Opens a file by its path, for a program that is not started yet.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::held(File::open(path)?, path, "/".into())
    }

    fn held(file: File, display: &Path, root: PathBuf) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file, device: metadata.dev(), inode: metadata.ino(), display: display.to_owned(), root })
    }

    /// The tree that the process sees the file in, where other files that belong to it are.
    ///
    /// # Errors
    /// The process is gone.
    pub fn root(&self) -> io::Result<Root> {
        Root::at(&self.root)
    }

    /// A path by which this process can have the kernel probe the file, deleted or not, while `self` lives.
    #[must_use]
    pub fn probe_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// The file, to be read by its parts.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The whole file.
    ///
    /// # Errors
    /// Larger than memory should be filled with, or unreadable.
    pub fn read(&self) -> Result<Vec<u8>, ProcessError> {
        let pid = std::process::id();
        let unreadable = |error| ProcessError::of_io(pid, self.display.clone(), error);
        // Opened anew: the position of a descriptor is shared, and two readers would move each other's.
        let mut file = File::open(self.probe_path()).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size > LARGEST {
            return Err(ProcessError::TooLarge { path: self.display.clone(), limit: LARGEST });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Mappings, *};

    /// Where the test program's own code is mapped.
    fn own_code() -> Mapping {
        let exe = std::env::current_exe().unwrap();
        let mappings = Mappings::read(std::process::id()).unwrap();
        mappings.iter().find(|mapping| mapping.path() == Some(&exe) && mapping.executable).unwrap().clone()
    }

    #[test]
    fn the_file_behind_a_mapping_is_opened_and_read() {
        let binary = OpenBinary::behind(std::process::id(), &own_code()).unwrap().unwrap();
        let expected = std::fs::read("/proc/self/exe").unwrap();
        assert!(binary.read().unwrap() == expected);
        assert!(std::fs::read(binary.probe_path()).unwrap() == expected);
    }

    #[test]
    fn a_mapping_without_a_file_has_none() {
        let mut mapping = own_code();
        mapping.kind = MappingKind::Vdso;
        assert!(OpenBinary::behind(std::process::id(), &mapping).unwrap().is_none());
    }

    #[test]
    fn another_file_at_the_same_path_is_refused() {
        let mut mapping = own_code();
        // No such range: map_files cannot help, as without the capability.
        mapping.end += 4096;
        assert!(OpenBinary::behind(std::process::id(), &mapping).unwrap().is_some());
        let MappingKind::File { inode, .. } = &mut mapping.kind else { unreachable!() };
        *inode += 1;
        let error = OpenBinary::behind(std::process::id(), &mapping).unwrap_err();
        assert!(matches!(error, ProcessError::Replaced { .. }), "{error}");
    }

    #[test]
    fn a_range_that_another_file_has_taken_gives_the_one_that_was_asked_for() {
        let path = std::env::temp_dir().join(format!("leaktrace-earlier-{}", std::process::id()));
        std::fs::write(&path, b"earlier").unwrap();
        let found = std::fs::metadata(&path).unwrap();
        let device = Device { major: libc::major(found.dev()), minor: libc::minor(found.dev()) };
        let kind = MappingKind::File { device, inode: found.ino(), path: path.clone(), deleted: false };
        // Told of where this program's own code is now.
        let mapping = Mapping { kind, ..own_code() };
        let binary = OpenBinary::behind(std::process::id(), &mapping).unwrap().unwrap();
        assert_eq!(binary.read().unwrap(), b"earlier");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_pipe_at_the_path_of_a_mapping_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("leaktrace-pipe-{}", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let found = std::fs::metadata(&path).unwrap();
        let device = Device { major: libc::major(found.dev()), minor: libc::minor(found.dev()) };
        let kind = MappingKind::File { device, inode: found.ino(), path: path.clone(), deleted: false };
        let error = OpenBinary::behind(std::process::id(), &Mapping { kind, ..own_code() }).unwrap_err();
        assert!(matches!(error, ProcessError::Unreadable { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_deleted_file_can_still_be_read_while_it_is_held() {
        let path = std::env::temp_dir().join(format!("leaktrace-deleted-{}", std::process::id()));
        std::fs::write(&path, b"code").unwrap();
        let binary = OpenBinary::at(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(binary.read().unwrap(), b"code");
    }
}
