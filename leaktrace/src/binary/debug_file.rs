//! Where a stripped program's symbols may lie: the debug packages' layout, as gdb looks for it.
//!
//! <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>. Only files on this
//! machine; nothing is downloaded.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::Binary;

/// Under which distributions install what they stripped.
const ROOT: &str = "/usr/lib/debug";

/// Paths at which the debug file of the program at `path` may lie, best first: by build id, then by the name
/// in `.gnu_debuglink`. Whether they exist, and whether a file found by name is the right one
/// ([`Binary::add_symbols_of`] compares build ids), is not asked here.
#[must_use]
pub fn candidates(binary: &Binary<'_>, path: &Path) -> Vec<PathBuf> {
    candidates_under(Path::new(ROOT), binary.build_id, binary.debug_link.map(|(name, _)| name), path)
}

fn candidates_under(
    root: &Path,
    build_id: Option<&[u8]>,
    link: Option<&[u8]>,
    program: &Path,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some([first, rest @ ..]) = build_id
        && !rest.is_empty()
    {
        let mut name = String::new();
        for byte in rest {
            let _ = write!(name, "{byte:02x}");
        }
        found.push(root.join(format!(".build-id/{first:02x}/{name}.debug")));
    }
    let name = link.map(OsStr::from_bytes).filter(|name| Path::new(name).file_name() == Some(name));
    if let (Some(name), Some(folder)) = (name, program.parent()) {
        // The program must not be taken for its own debug file.
        if program.file_name() != Some(name) {
            found.push(folder.join(name));
        }
        found.push(folder.join(".debug").join(name));
        found.push(root.join(folder.strip_prefix("/").unwrap_or(folder)).join(name));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(build_id: Option<&[u8]>, link: Option<&[u8]>) -> Vec<String> {
        candidates_under(Path::new("/dbg"), build_id, link, Path::new("/usr/bin/prog"))
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn the_build_id_is_tried_before_the_debug_link() {
        assert_eq!(
            paths(Some(&[0xab, 0x01, 0xef]), Some(b"prog.debug")),
            [
                "/dbg/.build-id/ab/01ef.debug",
                "/usr/bin/prog.debug",
                "/usr/bin/.debug/prog.debug",
                "/dbg/usr/bin/prog.debug"
            ]
        );
    }

    #[test]
    fn a_program_is_not_its_own_debug_file_and_a_link_is_a_bare_name() {
        assert_eq!(paths(None, Some(b"prog")), ["/usr/bin/.debug/prog", "/dbg/usr/bin/prog"]);
        assert!(paths(None, Some(b"../../etc/shadow")).is_empty());
        assert!(paths(None, None).is_empty());
    }
}
