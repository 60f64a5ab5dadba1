//! Where a stripped program's symbols may lie: the debug packages' layout, as gdb looks for it.
//!
//! <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>. Only files on this
//! machine; nothing is downloaded.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Seek as _},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use object::{Object as _, ReadCache};

use super::Binary;

/// Under which distributions install what they stripped.
const ROOT: &str = "/usr/lib/debug";

/// The debug file of the program at `path`, among those that `open` finds.
pub fn find(binary: &Binary<'_>, path: &Path, open: impl Fn(&Path) -> io::Result<File>) -> Option<File> {
    let found = candidates(binary, path);
    found.iter().filter_map(|path| open(path).ok()).find(|file| belongs(binary, file))
}

/// By build id; by the checksum in the debug link only where one of the files has none.
fn belongs(binary: &Binary<'_>, debug: &File) -> bool {
    let data = ReadCache::new(debug);
    let Ok(elf) = object::File::parse(&data) else { return false };
    match (binary.build_id, elf.build_id()) {
        (Some(ours), Ok(Some(theirs))) => ours == theirs,
        _ => binary.debug_link.is_some_and(|(_, sum)| checksum(debug).is_ok_and(|found| found == sum)),
    }
}

fn checksum(mut file: &File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Paths at which the debug file of the program at `path` may lie, best first: by build id, then by the name
/// in `.gnu_debuglink`.
fn candidates(binary: &Binary<'_>, path: &Path) -> Vec<PathBuf> {
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
    use std::process::Command;

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

    /// A program with a build id or without, stripped, and its debug file; none where there are no tools.
    fn made(folder: &Path, link: &str) -> Option<()> {
        let run = |command: &str, arguments: &[&str]| {
            let status = Command::new(command).args(arguments).current_dir(folder).status();
            status.is_ok_and(|status| status.success())
        };
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("program.c"), "int main(void) { return 0; }").unwrap();
        let made = run("cc", &["-g", link, "-o", "program", "program.c"])
            && run("objcopy", &["--only-keep-debug", "program", "program.debug"])
            && run("objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
        if !made {
            crate::say!("skipped: no C compiler or no objcopy");
        }
        made.then_some(())
    }

    #[test]
    fn a_debug_file_is_found_by_build_id_or_checksum_and_a_foreign_one_is_left_alone() {
        for link in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
            let name = format!("leaktrace-debug-{}-{}", std::process::id(), link.len());
            let folder = std::env::temp_dir().join(name);
            let Some(()) = made(&folder, link) else { return };
            let data = std::fs::read(folder.join("program")).unwrap();
            let binary = Binary::parse(&data).unwrap();
            assert_eq!(binary.build_id.is_some(), link.ends_with("sha1"));
            let debug = folder.join("program.debug");
            // Whatever is asked for is this file, or none.
            let is_found = |wanted: &Path| {
                let open = |path: &Path| match path == wanted {
                    true => File::open(&debug),
                    false => Err(io::ErrorKind::NotFound.into()),
                };
                find(&binary, Path::new("/srv/program"), open).is_some()
            };
            assert!(is_found(Path::new("/srv/program.debug")));
            assert!(is_found(Path::new("/srv/.debug/program.debug")));
            assert!(is_found(Path::new("/usr/lib/debug/srv/program.debug")));
            let by_build_id = candidates(&binary, Path::new("/srv/program")).swap_remove(0);
            assert!(is_found(&by_build_id), "{}", by_build_id.display());
            // Another program's.
            std::fs::copy("/proc/self/exe", &debug).unwrap();
            assert!(!is_found(Path::new("/srv/program.debug")));
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn a_program_is_not_its_own_debug_file_and_a_link_is_a_bare_name() {
        assert_eq!(paths(None, Some(b"prog")), ["/usr/bin/.debug/prog", "/dbg/usr/bin/prog"]);
        assert!(paths(None, Some(b"../../etc/shadow")).is_empty());
        assert!(paths(None, None).is_empty());
    }
}
