use std::{
    fs::File,
    io::{Read as _, Seek as _},
};

use super::*;
use crate::{
    binary::{Binary, debug_file, variables::Variables},
    process::OpenBinary,
};

#[test]
fn variables_found_by_what_they_look_like_are_those_that_the_debug_file_names() {
    let pid = std::process::id();
    let mappings = Mappings::read(pid).unwrap();
    let is_libc = |path: &std::path::Path| path.file_name().is_some_and(|name| name == "libc.so.6");
    let Some(libc) = mappings.iter().find(|mapping| mapping.path().is_some_and(is_libc)) else {
        crate::say!("skipped: this program has no libc.so.6");
        return;
    };
    let file = OpenBinary::behind(pid, libc).unwrap().unwrap();
    let bytes = file.read().unwrap();
    let binary = Binary::parse(&bytes).unwrap();
    let Some(mut debug) = debug_file::find(&binary, &file.display, |path| File::open(path)) else {
        crate::say!("skipped: no debug file of libc is installed");
        return;
    };
    let mut symbols = Vec::new();
    // Looking whether it belongs has read it.
    debug.rewind().unwrap();
    debug.read_to_end(&mut symbols).unwrap();
    let named =
        Variables::parse(&symbols, |name| ["main_arena", "mp_", "tcache_key"].contains(&name)).unwrap();
    // The first mapping of a library has its first page, whose address in the file is 0.
    let address = |name| libc.start + named.find(name).unwrap().address.0;

    let mut reader = HeapReader::open(pid, 4096).unwrap();
    assert_eq!(reader.found.main_arena, address("main_arena"));
    assert_eq!(reader.found.parameters, address("mp_"));
    assert_eq!(reader.layout.state.size as u64, named.find("main_arena").unwrap().size);
    assert_eq!(reader.layout.parameters.size as u64, named.find("mp_").unwrap().size);
    reader.census().unwrap();
    let mut key = [0; 8];
    assert!(crate::process::ReadUser::read(&reader.memory, address("tcache_key"), &mut key));
    assert_eq!(reader.key, Some(u64::from_ne_bytes(key)));
}

#[test]
fn a_heap_that_is_not_there_is_no_heap() {
    assert!(matches!(
        HeapReader::open(0x3fff_ffff, 4096),
        Err(Refused::Process(ProcessError::NoSuchProcess { .. }))
    ));
}
