//! The programs of `testprogs/`, compiled when they are asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{checkout, target};

/// Frame pointers, since stacks are walked by them; no sibling calls, which would take a site off its own
/// stack; no builtins, since compilers drop a malloc whose block is not used.
const C_FLAGS: [&str; 9] = [
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fno-builtin",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
];

const RUST_FLAGS: [&str; 5] =
    ["--edition=2024", "-Copt-level=1", "-Cdebuginfo=2", "-Cforce-frame-pointers=yes", "-Ccodegen-units=1"];

/// What builds a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    Gcc,
    Clang,
    Gxx,
    Rustc,
    /// gcc -static -s
    Static,
    /// A libc that is not glibc.
    Musl,
    /// rustc, with glibc in the executable.
    RustcStatic,
}

impl Compiler {
    fn name(self) -> &'static str {
        match self {
            Self::Gcc => "gcc",
            Self::Clang => "clang",
            Self::Gxx => "g++",
            Self::Rustc => "rustc",
            Self::Static => "static",
            Self::Musl => "musl-gcc",
            Self::RustcStatic => "rustc-static",
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new(match self {
            Self::Static => "gcc",
            Self::RustcStatic => "rustc",
            other => other.name(),
        });
        match self {
            Self::Gcc | Self::Musl => command.args(C_FLAGS).args(["-std=gnu17", "-rdynamic"]),
            // Clang 14 takes no note of -fno-builtin for a `static` that is unused once inlined.
            Self::Clang => command.args(C_FLAGS).args(["-std=gnu17", "-rdynamic", "-Wno-unused-function"]),
            Self::Gxx => command.args(C_FLAGS).args(["-std=c++17", "-rdynamic"]),
            Self::Static => command.args(C_FLAGS).args(["-std=gnu17", "-static", "-s"]),
            Self::Rustc => command.args(RUST_FLAGS),
            Self::RustcStatic => command.args(RUST_FLAGS).arg("-Ctarget-feature=+crt-static"),
        };
        command
    }

    /// What comes after the source: of its functions a linker looks back for.
    fn libraries(self) -> &'static [&'static str] {
        if matches!(self, Self::Rustc | Self::RustcStatic) { &[] } else { &["-Wl,--as-needed", "-lm"] }
    }
}

/// The executable of `testprogs/SOURCE`, compiled anew if its source or the header changed.
pub fn compiled(source: &str, compiler: Compiler) -> Result<PathBuf> {
    let programs = checkout().join("testprogs");
    let input = programs.join(source);
    let stem = Path::new(source).file_stem().context("a source has a name")?.to_string_lossy().into_owned();
    let folder = target().join("testprogs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let output = folder.join(format!("{stem}.{}", compiler.name()));
    let sources =
        [input.clone(), programs.join("testprog.h"), checkout().join("tests-kernel/src/compile.rs")];
    if is_newer(&output, &sources) {
        return Ok(output);
    }
    // Other tests may want the same program at once: each builds its own and puts it in place whole.
    let own = tempfile::tempdir_in(&folder)?;
    let built = own.path().join(&stem);
    let mut command = compiler.command();
    command.current_dir(&programs).arg("-o").arg(&built).arg(&input).args(compiler.libraries());
    let result = command.output().with_context(|| {
        format!("cannot start {}, which compiles {source}: install it (`.ci/run` does)", compiler.name())
    })?;
    if !result.status.success() {
        bail!("{} cannot compile {source}:\n{}", compiler.name(), String::from_utf8_lossy(&result.stderr));
    }
    fs::rename(&built, &output)?;
    Ok(output)
}

fn is_newer(output: &Path, sources: &[PathBuf]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(made) = time(output) else { return false };
    sources.iter().all(|source| time(source).is_ok_and(|changed| changed < made))
}
