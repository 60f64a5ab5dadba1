//! Which libc a process has, which version, and whether its malloc is the one that the process uses.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
};

use memchr::memmem;

use super::{error::Refused, layout::Version};
use crate::{
    binary::{self, Binary},
    process::{FileId, Mapping, MappingKind, Mappings, OpenBinary, ProcessError},
};

const GLIBC: &str = "libc.so.6";

/// What glibc prints when it is run as a program.
const BANNER: &[u8] = b"GNU C Library ";
const RELEASE: &[u8] = b" release version ";

/// What a static program has of glibc even where the banner was not linked in: the name of its settings' variable.
const STATIC_MARK: &[u8] = b"GLIBC_TUNABLES";

/// Where a process's glibc is.
#[derive(Debug)]
pub(super) struct Glibc {
    /// None in static programs.
    pub(super) version: Option<Version>,
    /// Its writable data.
    pub(super) data: Vec<Range<u64>>,
}

/// What files have to do with their processes' heaps, as far as they were looked at: many processes have one libc.
#[derive(Debug, Default)]
pub struct Libcs(HashMap<FileId, Libc>);

impl Libcs {
    fn of(&mut self, file: &OpenBinary) -> Result<Libc, ProcessError> {
        let Ok(id) = FileId::of(file.file()) else { return libc_of(file) };
        if let Some(known) = self.0.get(&id) {
            return Ok(*known);
        }
        let libc = libc_of(file)?;
        self.0.insert(id, libc);
        Ok(libc)
    }
}

/// # Errors
/// There is none, or another allocator is in its place.
pub(super) fn identify(pid: u32, mappings: &Mappings, libcs: &mut Libcs) -> Result<Glibc, Refused> {
    let mut seen = HashSet::new();
    let (mut glibc, mut musl, mut other) = (None, None, None);
    for mapping in mappings.iter().filter(|mapping| mapping.executable) {
        let Some(path) = mapping.path() else { continue };
        let Some(file) = OpenBinary::behind(pid, mapping).ok().flatten() else { continue };
        if !seen.insert((file.device, file.inode)) {
            continue;
        }
        match libcs.of(&file)? {
            Libc::Glibc(version) => glibc = Some(Glibc { version, data: data(mappings, path) }),
            Libc::Unversioned => return Err(Refused::NoVersion { pid, file: path.to_owned() }),
            Libc::Musl => musl = Some(path.to_owned()),
            Libc::Other => other = Some(path.to_owned()),
            Libc::None => {}
        }
    }
    match (glibc, musl, other) {
        (Some(_), _, Some(file)) => Err(Refused::OtherAllocator { pid, file }),
        (Some(glibc), ..) => Ok(glibc),
        (None, Some(file), _) => Err(Refused::Musl { pid, file }),
        (None, None, _) => Err(Refused::NoGlibc { pid }),
    }
}

/// What a file has to do with its process's heap.
#[derive(Clone, Copy, Debug)]
enum Libc {
    Glibc(Option<Version>),
    /// glibc that does not say which.
    Unversioned,
    Musl,
    /// An allocator in place of the libc's.
    Other,
    None,
}

fn libc_of(file: &OpenBinary) -> Result<Libc, ProcessError> {
    // Most files, and the largest, have no part in it, which their tables say: the rest of them is not read.
    if let Ok(Some(tables)) = binary::tables(file.file())
        && let Ok(binary) = Binary::parse(&tables)
        && !binary.is_static()
        && binary.soname != Some(GLIBC)
    {
        return Ok(libc_in(&binary, &file.display, &tables));
    }
    let bytes = file.read()?;
    Ok(Binary::parse(&bytes).map_or(Libc::None, |binary| libc_in(&binary, &file.display, &bytes)))
}

fn libc_in(binary: &Binary<'_>, path: &Path, bytes: &[u8]) -> Libc {
    let soname = binary.soname.unwrap_or_default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if soname == GLIBC {
        version(bytes).map_or(Libc::Unversioned, |version| Libc::Glibc(Some(version)))
    } else if soname.starts_with("libc.musl") || name.starts_with("ld-musl") || is_musl(binary) {
        Libc::Musl
    } else if binary.is_static() && memmem::find(bytes, STATIC_MARK).is_some() {
        Libc::Glibc(version(bytes))
    } else if !soname.starts_with("ld-linux") && defines_malloc(binary) {
        // The loader's own malloc, of glibc before 2.35, ends with the start of the program.
        Libc::Other
    } else {
        Libc::None
    }
}

fn is_musl(binary: &Binary<'_>) -> bool {
    binary.interpreter.is_some_and(|path| memmem::find(path, b"ld-musl").is_some())
}

fn defines_malloc(binary: &Binary<'_>) -> bool {
    ["malloc", "free"]
        .iter()
        .all(|name| binary.functions().iter().any(|function| function.exported && function.name == *name))
}

/// `GNU C Library (Debian GLIBC 2.36-9+deb12u7) stable release version 2.36.`
fn version(bytes: &[u8]) -> Option<Version> {
    let banner = &bytes[memmem::find(bytes, BANNER)?..];
    let line = &banner[..banner.iter().take(256).position(|byte| matches!(byte, 0 | b'\n'))?];
    let text = std::str::from_utf8(&line[memmem::find(line, RELEASE)? + RELEASE.len()..]).ok()?;
    let (major, rest) = text.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(Version { major: major.parse().ok()?, minor: rest[..digits].parse().ok()? })
}

/// Writable parts of a file as it is mapped, and the zeroed memory right behind each.
fn data(mappings: &Mappings, path: &Path) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut last: Option<&Mapping> = None;
    for mapping in mappings {
        let is_bss = matches!(mapping.kind, MappingKind::Anonymous { name: None })
            && last.is_some_and(|last| last.end == mapping.start && last.path() == Some(path));
        if mapping.writable && (mapping.path() == Some(path) || is_bss) {
            ranges.push(mapping.start..mapping.end);
        }
        last = Some(mapping);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_line_that_glibc_prints() {
        let banner = |text: &str| version(format!("\0{text}\nCopyright\0").as_bytes());
        let found = |minor| Some(Version { major: 2, minor });
        assert_eq!(
            banner("GNU C Library (Debian GLIBC 2.36-9+deb12u7) stable release version 2.36."),
            found(36)
        );
        assert_eq!(banner("GNU C Library (GNU libc) development release version 2.42.9000."), found(42));
        assert_eq!(banner("GNU C Library (GNU libc) stable"), None);
        assert_eq!(version(b"musl libc"), None);
    }

    #[test]
    fn the_zeroed_memory_behind_a_file_is_its_data_too() {
        let text = b"1000-2000 r-xp 0 00:01 7 /libc.so.6\n2000-3000 rw-p 0 00:01 7 /libc.so.6\n\
            3000-4000 rw-p 0 00:00 0 \n5000-6000 rw-p 0 00:00 0 \n";
        let mappings = Mappings::parse(text).unwrap();
        assert_eq!(data(&mappings, Path::new("/libc.so.6")), [0x2000..0x3000, 0x3000..0x4000]);
    }
}
