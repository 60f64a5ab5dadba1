//! The tree of files that a process sees: in a container or after chroot it is another than the agent's.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// A tree of files, held open: it stays that of the process when the process is gone.
#[derive(Debug)]
pub struct Root(File);

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
    /// As [`File::metadata`].
    pub fn id(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|top| (top.dev(), top.ino()))
    }

    /// Opens a regular file for reading. Links are followed as the process would: absolute ones from its root, and none
    /// lead out of it. Nothing that would block or act when opened is.
    ///
    /// # Errors
    /// There is none, or it is out of reach.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?.into();
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_are_followed_within_the_root_and_never_out_of_it() {
        let folder = std::env::temp_dir().join(format!("leaktrace-root-{}", std::process::id()));
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
