//! Which files a program that is not started yet will map, asked of its own dynamic loader.
//!
//! The loader is run as `LOADER --list PROGRAM`, which glibc's and musl's both know: it maps and relocates but
//! runs none of the program's code. It sees this process's environment, so LD_PRELOAD and LD_LIBRARY_PATH
//! count as they will for the program. What the program opens later (dlopen) is not in the list.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use thiserror::Error;

use super::{Binary, BinaryError};

/// How many `#!` lines are followed: the kernel follows as many (`bprm->recursion` in fs/exec.c).
const SCRIPT_DEPTH: usize = 4;

/// What starting a command maps.
#[derive(Debug, PartialEq, Eq)]
pub struct Startup {
    /// The ELF program: the command itself, or the interpreter that its `#!` lines name.
    pub program: PathBuf,
    /// What the loader adds, the loader itself included. Empty for a static program.
    pub libraries: Vec<PathBuf>,
}

#[derive(Debug, Error)]
pub enum LoaderError {
    #[error("{command}: no such command in PATH, so nothing can be started; give its path")]
    NotInPath { command: String },
    #[error("{path}: cannot be read, so its allocator cannot be found: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Binary { path: PathBuf, source: BinaryError },
    #[error(
        "{path}: its #! lines lead through more than {SCRIPT_DEPTH} scripts; start the last one's interpreter"
    )]
    TooManyScripts { path: PathBuf },
    #[error("{loader} --list {program} failed, so its libraries are not known before it runs: {why}")]
    List { loader: PathBuf, program: PathBuf, why: String },
}

/// The program that `command` starts and the libraries that its loader will map.
///
/// # Errors
/// The command does not exist, cannot be read or is no program, or its loader refuses it.
pub fn libraries(command: &OsStr) -> Result<Startup, LoaderError> {
    let (program, data) = program(command)?;
    let binary =
        Binary::parse(&data).map_err(|source| LoaderError::Binary { path: program.clone(), source })?;
    let Some(loader) = binary.interpreter else {
        return Ok(Startup { program, libraries: Vec::new() });
    };
    let loader = PathBuf::from(OsStr::from_bytes(loader));
    // Absolute: glibc's loader looks a bare name up among the libraries.
    let absolute = std::path::absolute(&program)
        .map_err(|source| LoaderError::Unreadable { path: program.clone(), source })?;
    let refused = |why| LoaderError::List { loader: loader.clone(), program: program.clone(), why };
    let output = Command::new(&loader)
        .arg("--list")
        .arg(&absolute)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    if !output.status.success() {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let libraries = listed(&output.stdout);
    Ok(Startup { program, libraries })
}

/// Follows `#!` lines to a file that is none, with its bytes.
fn program(command: &OsStr) -> Result<(PathBuf, Vec<u8>), LoaderError> {
    let find = |command: &OsStr| {
        let unknown = || LoaderError::NotInPath { command: command.to_string_lossy().into_owned() };
        in_path(command).ok_or_else(unknown)
    };
    let mut path = find(command)?;
    for _ in 0..=SCRIPT_DEPTH {
        let unreadable = |source| LoaderError::Unreadable { path: path.clone(), source };
        let mut file = std::fs::File::open(&path).map_err(unreadable)?;
        let mut data = Vec::new();
        // A script's first line is all that is needed of it; the kernel too reads no more (BINPRM_BUF_SIZE).
        file.by_ref().take(256).read_to_end(&mut data).map_err(unreadable)?;
        let Some(next) = script_interpreter(&data) else {
            file.read_to_end(&mut data).map_err(unreadable)?;
            return Ok((path, data));
        };
        path = find(&next)?;
    }
    Err(LoaderError::TooManyScripts { path })
}

/// What a `#!` line runs. `env` runs another program in its own place, so that one is meant.
fn script_interpreter(start: &[u8]) -> Option<OsString> {
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let interpreter = OsStr::from_bytes(words.next()?);
    if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
        // Behind `-S` and assignments stands the program.
        let started = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
        return Some(started.map_or(interpreter, OsStr::from_bytes).to_owned());
    }
    Some(interpreter.to_owned())
}

/// The file that a shell would start for `command`. One with a slash is taken as it is, there or not.
#[must_use]
pub fn in_path(command: &OsStr) -> Option<PathBuf> {
    if command.as_bytes().contains(&b'/') {
        return Some(command.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(command)).find(|path| path.is_file())
}

/// Paths in the loader's list: `\tNAME => PATH (0xADDRESS)` or `\tPATH (0xADDRESS)`.
fn listed(output: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in String::from_utf8_lossy(output).lines() {
        let line = line.rsplit_once(" (0x").map_or(line, |(before, _)| before).trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        // The vDSO and libraries that are not found have no path.
        if path.starts_with('/') && !found.iter().any(|known| known == Path::new(path)) {
            found.push(path.into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn both_loaders_lists_are_read() {
        let glibc = b"\tlinux-vdso.so.1 (0x00007ffd)\n\t/opt/my lib/pre.so (0x00007f01)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\tlibx.so => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f03)\n";
        assert_eq!(
            listed(glibc),
            ["/opt/my lib/pre.so", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
                .map(PathBuf::from)
        );
        let musl = b"\t/lib/ld-musl-x86_64.so.1 (0x7f01)\n\
            \tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f01)\n";
        assert_eq!(listed(musl), [PathBuf::from("/lib/ld-musl-x86_64.so.1")]);
    }

    #[test]
    fn a_shell_maps_libc() {
        let startup = libraries(OsStr::new("sh")).unwrap();
        assert!(startup.program.is_absolute());
        assert!(startup.libraries.iter().any(|path| path.to_string_lossy().contains("libc")), "{startup:?}");
    }

    #[test]
    fn a_script_maps_what_its_interpreter_maps() {
        let script = std::env::temp_dir().join(format!("leaktrace-script-{}", std::process::id()));
        std::fs::write(&script, "#!/usr/bin/env -S sh -e\ntrue\n").unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let startup = libraries(script.as_os_str()).unwrap();
        assert_eq!(startup, libraries(OsStr::new("sh")).unwrap());
        // A script that names itself.
        std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(matches!(libraries(script.as_os_str()), Err(LoaderError::TooManyScripts { .. })));
        std::fs::remove_file(&script).unwrap();
    }

    #[test]
    fn an_unknown_command_says_so() {
        let error = libraries(OsStr::new("no-such-command-here")).unwrap_err();
        assert!(matches!(error, LoaderError::NotInPath { .. }), "{error}");
        assert!(matches!(libraries(OsStr::new("/no/such")), Err(LoaderError::Unreadable { .. })));
    }
}
