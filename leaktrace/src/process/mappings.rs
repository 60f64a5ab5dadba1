//! What a process has mapped, from /proc/PID/maps.
//!
//! Read here rather than by `procfs`, which refuses the whole table when one path in it is not UTF-8, and
//! leaves the kernel's escape of newlines in.

use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::{ProcessError, Root, identity::without_deleted};

/// A file system, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MappingKind {
    File {
        device: Device,
        inode: u64,
        /// As the process sees it: its root may be another.
        path: PathBuf,
        /// The path no longer leads to the file (deleted, or replaced by an upgrade).
        deleted: bool,
    },
    /// `name`: what prctl(PR_SET_VMA_ANON_NAME) gave it, or the kernel's own such as `heap` and `stack`.
    Anonymous { name: Option<String> },
    /// The kernel's code in user space (clock_gettime and others).
    Vdso,
    /// Its data.
    Vvar,
    /// Its predecessor at a fixed address.
    Vsyscall,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Where in the file `start` lies; without meaning for other kinds.
    pub file_offset: u64,
    pub executable: bool,
    pub writable: bool,
    /// Readable, writable or executable: else these addresses are only reserved.
    pub accessible: bool,
    /// Writes are seen by others who map the same.
    pub shared: bool,
    pub kind: MappingKind,
}

impl Mapping {
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Takes the path of the process's root off.
    fn below(&mut self, root: &Path) {
        if let MappingKind::File { path, .. } = &mut self.kind
            && let Ok(inner) = path.strip_prefix(root)
        {
            *path = Path::new("/").join(inner);
        }
    }

    /// Path of the mapped file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            MappingKind::File { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// A process's mappings, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings(Vec<Mapping>);

impl Mappings {
    /// # Errors
    /// The process has ended, or this user may not look into it.
    pub fn read(pid: u32) -> Result<Self, ProcessError> {
        let path: PathBuf = format!("/proc/{pid}/maps").into();
        let text = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ProcessError::NoSuchProcess { pid },
            _ => ProcessError::of_io(pid, path.clone(), error),
        })?;
        let mut mappings = Self::parse(&text).map_err(|what| ProcessError::Unexpected { pid, path, what })?;
        // After a chroot the kernel still says where the files are for us, not for the process.
        if let Ok(root) = std::fs::read_link(Root::of(pid)) {
            mappings.0.iter_mut().for_each(|mapping| mapping.below(&root));
        }
        Ok(mappings)
    }

    /// The text of /proc/PID/maps; the error is the line that is no mapping.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut mappings = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| mapping(line).ok_or_else(|| String::from_utf8_lossy(line).into_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        // The kernel lists them so, but a table read in two goes while the process maps may not be.
        mappings.sort_by_key(|mapping| mapping.start);
        Ok(Self(mappings))
    }

    /// The mapping that `address` lies in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let behind = self.0.partition_point(|mapping| mapping.start <= address);
        self.0[..behind].last().filter(|mapping| mapping.contains(address))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Mapping> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mappings {
    type Item = &'a Mapping;
    type IntoIter = std::slice::Iter<'a, Mapping>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE          PATH`, hexadecimal but for the inode.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let permissions = text()?;
    let file_offset = u64::from_str_radix(text()?, 16).ok()?;
    let (major, minor) = text()?.split_once(':')?;
    let device =
        Device { major: u32::from_str_radix(major, 16).ok()?, minor: u32::from_str_radix(minor, 16).ok()? };
    let inode = text()?.parse().ok()?;
    // Padded in front only: spaces at its end are part of the name.
    let name = fields.next().unwrap_or_default();
    let name = &name[name.iter().position(|byte| *byte != b' ').unwrap_or(name.len())..];
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        file_offset,
        executable: permissions.as_bytes().get(2) == Some(&b'x'),
        writable: permissions.as_bytes().get(1) == Some(&b'w'),
        accessible: permissions.bytes().take(3).any(|bit| bit != b'-'),
        shared: permissions.as_bytes().get(3) == Some(&b's'),
        kind: kind(name, device, inode),
    })
}

fn kind(name: &[u8], device: Device, inode: u64) -> MappingKind {
    match name {
        b"[vdso]" => MappingKind::Vdso,
        b"[vsyscall]" => MappingKind::Vsyscall,
        [b'[', b'v', b'v', b'a', b'r', ..] => MappingKind::Vvar,
        [b'[', inner @ .., b']'] => {
            let inner = inner.strip_prefix(b"anon:").unwrap_or(inner);
            MappingKind::Anonymous { name: Some(String::from_utf8_lossy(inner).into_owned()) }
        }
        b"" if inode == 0 => MappingKind::Anonymous { name: None },
        _ => {
            let (path, deleted) = without_deleted(Path::new(&OsString::from_vec(unescaped(name))));
            MappingKind::File { device, inode, path, deleted }
        }
    }
}

/// The kernel writes a newline in a path as `\012`, and nothing else differently (`seq_path` in fs/proc/task_mmu.c).
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(behind) => {
                plain.push(b'\n');
                rest = behind;
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn every_kind_of_mapping_is_told_apart() {
        let text = b"55f0c0-55f0d0 r-xp 0001c000 fe:01 4242                       /usr/bin/a b (deleted)\n\
            55f0d0-55f0e0 rw-p 00000000 00:00 0                          [heap]\n\
            7f0000-7f1000 rw-p 00000000 00:00 0 \n\
            7f1000-7f2000 rw-p 00000000 00:00 0                          [anon:v8]\n\
            7f2000-7f3000 r-xp 00000000 00:01 77                         /memfd:jit\\012\xff (deleted)\n\
            7ffe00-7ffe10 r--p 00000000 00:00 0                          [vvar_vclock]\n\
            7ffe10-7ffe20 r-xp 00000000 00:00 0                          [vdso]\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]\n";
        let mappings = Mappings::parse(text).unwrap();
        let kinds: Vec<_> = mappings.iter().map(|mapping| mapping.kind.clone()).collect();
        let anonymous = |name: Option<&str>| MappingKind::Anonymous { name: name.map(str::to_owned) };
        assert_eq!(
            kinds,
            [
                MappingKind::File {
                    device: Device { major: 0xfe, minor: 1 },
                    inode: 4242,
                    path: "/usr/bin/a b".into(),
                    deleted: true
                },
                anonymous(Some("heap")),
                anonymous(None),
                anonymous(Some("v8")),
                MappingKind::File {
                    device: Device { major: 0, minor: 1 },
                    inode: 77,
                    path: std::ffi::OsStr::from_bytes(b"/memfd:jit\n\xff").into(),
                    deleted: true
                },
                MappingKind::Vvar,
                MappingKind::Vdso,
                MappingKind::Vsyscall,
            ]
        );
        let code = mappings.find(0x55f0c8).unwrap();
        assert_eq!((code.file_offset, code.executable), (0x1c000, true));
    }

    #[test]
    fn paths_of_a_process_with_another_root_begin_there() {
        let text = b"1000-2000 r-xp 0 00:01 7 /srv/root/app/x\n2000-3000 r-xp 0 00:01 8 /srv/rooted\n";
        let mut mappings = Mappings::parse(text).unwrap();
        mappings.0.iter_mut().for_each(|mapping| mapping.below(Path::new("/srv/root")));
        let paths: Vec<_> = mappings.iter().map(|mapping| mapping.path().unwrap()).collect();
        assert_eq!(paths, [Path::new("/app/x"), Path::new("/srv/rooted")]);
        mappings.0.iter_mut().for_each(|mapping| mapping.below(Path::new("/")));
        assert_eq!(mappings.iter().next().unwrap().path(), Some(Path::new("/app/x")));
    }

    #[test]
    fn an_address_is_found_from_the_first_byte_to_before_the_end() {
        let text = b"1000-2000 r--p 0 00:00 0 \n3000-4000 r--p 0 00:00 0 \n";
        let mappings = Mappings::parse(text).unwrap();
        let found = |address| mappings.find(address).map(|mapping| mapping.start);
        assert_eq!(
            [0xfff, 0x1000, 0x1fff, 0x2000, 0x3000, 0x4000].map(found),
            [None, Some(0x1000), Some(0x1000), None, Some(0x3000), None]
        );
    }

    #[test]
    fn a_line_that_is_no_mapping_is_named() {
        assert_eq!(Mappings::parse(b"what\n"), Err("what".to_owned()));
    }

    #[test]
    fn this_functions_own_code_is_in_this_programs_file() {
        let mappings = Mappings::read(std::process::id()).unwrap();
        let here = mappings.find(Mappings::read as fn(u32) -> _ as usize as u64).unwrap();
        assert!(here.executable);
        assert_eq!(here.path(), Some(std::env::current_exe().unwrap().as_path()));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_mappings() {
        assert!(matches!(Mappings::read(0x3fff_ffff), Err(ProcessError::NoSuchProcess { .. })));
    }
}
