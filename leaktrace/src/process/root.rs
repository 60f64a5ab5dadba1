//! The tree of files that a process sees: in a container or after chroot it is another than the agent's.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use pathrs::{
    error::{Error, ErrorKind},
    flags::OpenFlags,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

/// A tree of files, held open: it stays that of the process when the process is gone.
#[derive(Debug)]
pub struct Root(pathrs::Root);

impl Root {
    /// The tree below this folder; `/` is the agent's own.
    ///
    /// # Errors
    /// The folder is out of reach.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, folder, flags, Mode::empty())?.into()))
    }

    /// Where the tree of a process is to be found while it lives.
    #[must_use]
    pub fn of(pid: u32) -> PathBuf {
        format!("/proc/{pid}/root").into()
    }

    /// Device and inode of the tree's top: the same for processes that see the same files, but for what is mounted in some.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn id(&self) -> io::Result<(u64, u64)> {
        let top = rustix::fs::fstat(&self.0)?;
        Ok((top.st_dev, top.st_ino))
    }

    /// Opens a regular file for reading. Links are followed as the process would: absolute ones from its root, and none
    /// lead out of it. Nothing that would block or act when opened is.
    ///
    /// # Errors
    /// There is none, or it is out of reach.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let found = self.0.resolve(path).map_err(io_error)?;
        // Asked before it is opened: a pipe would wait for who writes to it, a device may act.
        if !FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_CLOEXEC | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
        found.reopen(flags).map_err(io_error)
    }
}

fn io_error(error: Error) -> io::Error {
    match error.kind() {
        ErrorKind::OsError(Some(number)) => io::Error::from_raw_os_error(number),
        _ => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use super::*;

    #[test]
    fn links_are_followed_within_the_root_and_never_out_of_it() {
        follow_links("root");
    }

    #[test]
    fn a_sandbox_without_openat2_makes_no_difference() {
        // A filter is the thread's own.
        let sandboxed = std::thread::spawn(|| {
            let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
            let arch = std::env::consts::ARCH.try_into().unwrap();
            let rules = [(libc::SYS_openat2, Vec::new())].into();
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            follow_links("sandbox");
        });
        sandboxed.join().unwrap();
    }

    fn follow_links(name: &str) {
        let folder = std::env::temp_dir().join(format!("leaktrace-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("usr/lib")).unwrap();
        fs::write(folder.join("usr/lib/here"), "inside").unwrap();
        symlink("/usr/lib", folder.join("absolute")).unwrap();
        symlink("../../../../../../usr/lib/here", folder.join("usr/upwards")).unwrap();
        let root = Root::at(&folder).unwrap();
        for path in ["/usr/lib/here", "/absolute/here", "/usr/upwards", "../../usr/lib/here"] {
            let text = io::read_to_string(root.open(Path::new(path)).unwrap()).unwrap();
            assert_eq!(text, "inside", "{path}");
        }
        assert!(root.open(Path::new("/usr/lib")).is_err(), "a folder is no file");
        assert!(root.open(Path::new("/proc/self/exe")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
