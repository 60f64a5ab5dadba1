//! Probes that are placed and taken back many at a time: links of the kind `uprobe_multi`.
//!
//! A link for each probe has the kernel wait for a grace period for each when it is closed, one after another; a link for all
//! places of a program in a file waits once. aya 0.14 does not know this kind, so its programs are loaded here, from the same
//! object and onto the same maps.
//! <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c>, `bpf_uprobe_multi_link_attach`.

#![allow(unsafe_code, reason = "the bpf system call takes raw pointers")]

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs, io,
    num::NonZeroU32,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    thread,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::Object;
use zerocopy::{Immutable, IntoBytes};

use super::{
    attach::{Place, Program},
    features,
    tables::{BPF_LINK_CREATE, bpf, owned},
};

/// Kernels from 6.6 on have such links, but before this one a link for one process leaves out its other threads
/// (<https://github.com/torvalds/linux/commit/46ba0e49b64232239ac35a2bc892f1168d2efbf3>).
const TRUSTED: (u32, u32) = (6, 11);

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_BTF_LOAD: libc::c_int = 18;
/// `enum bpf_prog_type`.
const BPF_PROG_TYPE_KPROBE: u32 = 2;
/// `enum bpf_attach_type`.
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// From 6.13 on: a program that is run at a function's entry says whether it is to be run at the return
/// (<https://github.com/torvalds/linux/commit/d920179b3d4842a0e27cae54fdddbe5ef3977e73>).
const BPF_TRACE_UPROBE_SESSION: u32 = 57;
const SESSIONS: (u32, u32) = (6, 13);
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// `union bpf_attr` to load a program.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    types_fd: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
}

/// `union bpf_attr` to load types.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct LoadTypes {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}

/// `union bpf_attr` to make a link of this kind.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Link {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    semaphores: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}

/// The programs, each loaded when it is first wanted.
pub(super) struct Multi {
    version: (u32, u32),
    object: Object,
    /// What the kernel knows callbacks by.
    types: OwnedFd,
    loaded: HashMap<Program, OwnedFd>,
}

impl Multi {
    /// None where the kernel has no such links, or none to be trusted.
    pub(super) fn new(bytes: &[u8], ebpf: &Ebpf) -> Option<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let version = features::version(&release).filter(|version| *version >= TRUSTED)?;
        let mut object = Object::parse(bytes).ok()?;
        let types = object.fixup_and_sanitize_btf(aya::features().btf()?).ok()??.to_bytes();
        let types = load_types(&types).ok()?;
        let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = std::mem::take(&mut object.maps);
        let made: HashMap<&str, RawFd> =
            ebpf.maps().filter_map(|(name, map)| Some((name, data(map)?.fd().as_fd().as_raw_fd()))).collect();
        let of_each =
            maps.iter().filter_map(|(name, map)| Some((name.as_str(), *made.get(name.as_str())?, map)));
        object.relocate_maps(of_each, &code).ok()?;
        object.relocate_calls(&code).ok()?;
        Some(Self { version, object, types, loaded: HashMap::new() })
    }

    /// Loads those of the programs that are not yet.
    ///
    /// At once: the verifier takes up to a second for one, and works on as many as there are CPUs.
    pub(super) fn load(&mut self, programs: &[Program]) -> io::Result<()> {
        let missing = programs.iter().filter(|program| !self.loaded.contains_key(program));
        let loaded: Vec<io::Result<(Program, OwnedFd)>> = thread::scope(|scope| {
            let one = |program: Program| self.load_one(program).map(|fd| (program, fd));
            let loads: Vec<_> = missing.map(|program| scope.spawn(move || one(*program))).collect();
            loads
                .into_iter()
                .map(|load| load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for one in loaded {
            self.loaded.extend([one?]);
        }
        Ok(())
    }

    /// Whether programs can be asked at a function's entry if they want to see its return.
    pub(super) fn has_sessions(&mut self) -> bool {
        self.version >= SESSIONS && self.load(&[Program::V8RefillSession]).is_ok()
    }

    /// A program that is loaded.
    pub(super) fn loaded(&self, program: Program) -> Option<&OwnedFd> {
        self.loaded.get(&program)
    }

    fn load_one(&self, program: Program) -> io::Result<OwnedFd> {
        let name = program.name();
        let function =
            self.object.programs.get(name).and_then(|of| self.object.functions.get(&of.function_key()));
        let function = function.ok_or(io::ErrorKind::NotFound)?;
        let functions = function.func_info.func_info_bytes();
        let mut load = Load {
            kind: BPF_PROG_TYPE_KPROBE,
            instruction_count: function.instructions.len() as u32,
            instructions: function.instructions.as_ptr() as u64,
            license: self.object.license.as_ptr() as u64,
            attach_type: kind_of_link(program),
            types_fd: self.types.as_raw_fd() as u32,
            function_size: function.func_info_rec_size as u32,
            functions: functions.as_ptr() as u64,
            function_count: function.func_info.len() as u32,
            ..Load::default()
        };
        // The last byte stays zero.
        let length = name.len().min(load.name.len() - 1);
        load.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        // SAFETY: instructions, licence and functions are live and as long as said.
        owned(unsafe { bpf(BPF_PROG_LOAD, &mut load) })
    }

    /// Places a loaded program in a file: in one process, or in all that map it.
    pub(super) fn link(
        &self,
        program: Program,
        file: &Path,
        pid: Option<NonZeroU32>,
        places: &[&Place],
    ) -> io::Result<OwnedFd> {
        let loaded = self.loaded.get(&program).ok_or(io::ErrorKind::NotFound)?;
        let path = CString::new(file.as_os_str().as_bytes())?;
        let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
        let cookies: Vec<u64> = places.iter().map(|place| place.cookie).collect();
        let mut link = Link {
            program_fd: loaded.as_raw_fd() as u32,
            attach_type: kind_of_link(program),
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            cookies: cookies.as_ptr() as u64,
            count: places.len() as u32,
            multi_flags: if program.is_at_return() { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
            pid: pid.map_or(0, NonZeroU32::get),
            ..Link::default()
        };
        // SAFETY: the path ends with a zero, and both lists are live and of `count` words.
        owned(unsafe { bpf(BPF_LINK_CREATE, &mut link) })
    }
}

const fn kind_of_link(program: Program) -> u32 {
    if program.is_session() { BPF_TRACE_UPROBE_SESSION } else { BPF_TRACE_UPROBE_MULTI }
}

fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut load =
        LoadTypes { types: types.as_ptr() as u64, size: types.len() as u32, ..LoadTypes::default() };
    // SAFETY: the bytes are live and as many as said.
    owned(unsafe { bpf(BPF_BTF_LOAD, &mut load) })
}

/// A map of any of the kinds that the object has.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::Array(data)
        | Map::Queue(data)
        | Map::RingBuf(data)
        | Map::ArrayOfMaps(data) => Some(data),
        _ => None,
    }
}
