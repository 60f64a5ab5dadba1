//! What is to be probed in a file, by what the file says of itself.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
};

use super::{super::engines::BuiltinsInFile, Heaps};
use crate::{
    binary::{self, Binary, debug_file},
    event::FileOffset,
    process::OpenBinary,
    runtime::v8::detect::{self, Detected},
    target::{self, Hooks, NoAllocator, Wanted},
};

/// What a file defines whose malloc is glibc's; a static program has the second alone.
const GLIBC: [&str; 2] = ["gnu_get_libc_version", "_int_malloc"];

/// What was read of a file.
pub(super) struct Read {
    pub(super) build_id: Option<Vec<u8>>,
    pub(super) hooks: Result<Hooks, NoAllocator>,
    /// Whether its malloc is glibc's.
    pub(super) glibc: bool,
    /// Where its symbols are, if they are in a file of their own.
    pub(super) debug: Option<File>,
    pub(super) v8: Detected,
    /// Where V8's builtins are in the file.
    pub(super) builtins: Option<BuiltinsInFile>,
}

impl Read {
    /// `heaps` are those that are traced; none where this file's are not.
    pub(super) fn of(file: &OpenBinary, wanted: &Wanted, heaps: Option<Heaps>) -> Self {
        if let Some(read) = Self::described(file, wanted, heaps) {
            return read;
        }
        // A file that cannot be read or is not ELF (a mapped font, say) has nothing to probe either.
        let mut read = Self::nothing(None, Err(NoAllocator::NoneDefined));
        let Ok(data) = file.read() else { return read };
        let Ok(mut binary) = Binary::parse(&data) else { return read };
        read.build_id = binary.build_id.map(<[u8]>::to_vec);
        read.debug = debug_file_of(file, &binary);
        let Some(heaps) = heaps else { return read };
        if heaps.javascript {
            read.v8 = detect::detect(&binary, &data);
            read.builtins = builtins_of(&read.v8, &binary);
        }
        if !heaps.native {
            read.hooks = Err(NoAllocator::NotWanted);
            return read;
        }
        read.look_for_hooks(&binary, wanted);
        let has_none = matches!(read.hooks, Err(NoAllocator::NoSymbols | NoAllocator::NoneDefined));
        if !has_none || !binary.is_static() {
            return read;
        }
        let Some(symbols) = read.debug.as_ref().and_then(|debug| whole(debug).ok()) else { return read };
        // Broken debug information: what the file itself says stands.
        let _ = binary.add_symbols_of(&symbols);
        read.look_for_hooks(&binary, wanted);
        read
    }

    /// The same of a file in which nothing is to be probed by its symbols alone, as in most large ones: their code is not
    /// read into memory. None where it has to be.
    fn described(file: &OpenBinary, wanted: &Wanted, heaps: Option<Heaps>) -> Option<Self> {
        let tables = binary::tables(file.file()).ok()??;
        if heaps.is_some_and(|heaps| heaps.javascript) && detect::may_have_v8(&tables) {
            return None;
        }
        let binary = Binary::parse(&tables).ok()?;
        let hooks = match heaps {
            None => Err(NoAllocator::NoneDefined),
            Some(heaps) if !heaps.native => Err(NoAllocator::NotWanted),
            Some(_) if target::has_candidates(&binary, wanted) => return None,
            Some(_) => target::hooks_of(&binary, wanted),
        };
        let debug = debug_file_of(file, &binary);
        // The names of a static program may be there.
        let may_have_names = heaps.is_some_and(|heaps| heaps.native) && binary.is_static() && debug.is_some();
        (!may_have_names).then(|| Self::nothing(debug, hooks))
    }

    const fn nothing(debug: Option<File>, hooks: Result<Hooks, NoAllocator>) -> Self {
        Self { build_id: None, hooks, glibc: false, debug, v8: Detected::NotV8, builtins: None }
    }

    fn look_for_hooks(&mut self, binary: &Binary<'_>, wanted: &Wanted) {
        self.glibc = binary.functions().iter().any(|function| GLIBC.contains(&function.name));
        self.hooks = target::hooks_of(binary, wanted);
    }
}

fn debug_file_of(file: &OpenBinary, binary: &Binary<'_>) -> Option<File> {
    let root = file.root().ok()?;
    debug_file::find(binary, &file.display, |path| root.open(path))
}

fn builtins_of(v8: &Detected, binary: &Binary<'_>) -> Option<BuiltinsInFile> {
    let Detected::Usable(v8) = v8 else { return None };
    let range = v8.builtins.as_ref()?;
    let start = binary.offset_of(range.start)?.0;
    Some(FileOffset(start)..FileOffset(start + (range.end.0 - range.start.0)))
}

fn whole(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
