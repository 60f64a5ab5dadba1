//! Reads and writes the kernel's tables by the bpf system call, many entries a call.
//!
//! aya 0.14 reads a hash one entry a call, two system calls each: 2 s for a million live blocks. The kernel's
//! batch calls read whole buckets, each under its lock, so an entry that stays is seen exactly once.
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>, `BPF_MAP_LOOKUP_BATCH`.

#![allow(unsafe_code, reason = "the bpf system call takes raw pointers")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
pub(super) const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
/// Of an update: the entry must not be there.
const BPF_NOEXIST: u64 = 1;
/// `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// Entries a call at first; doubled when one bucket holds more.
const BATCH: usize = 4096;

/// `union bpf_attr` for one element.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for a batch.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// `union bpf_attr` to make a link, with nothing to iterate over but all there is.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Link {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iterated: u64,
    iterated_length: u64,
}

/// `union bpf_attr` to iterate.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Iterate {
    link_fd: u32,
    flags: u32,
}

/// # Safety
/// Every pointer in `attributes` must be valid for what `command` reads or writes through it.
pub(super) unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the caller vouches for the pointers; the size is that of the structure passed.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    // Descriptors and zeros, which fit.
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// What the system call answers that makes a descriptor.
pub(super) fn owned(made: io::Result<libc::c_int>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just made it, for us alone.
    made.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets one entry.
pub(super) fn insert<K: IntoBytes + Immutable, V: IntoBytes + Immutable>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    update(map, key, value, 0)
}

/// Sets an entry that is not there yet; `AlreadyExists` if it is.
pub(super) fn insert_new<K: IntoBytes + Immutable, V: IntoBytes + Immutable>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    update(map, key, value, BPF_NOEXIST)
}

fn update<K: IntoBytes + Immutable, V: IntoBytes + Immutable>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
    flags: u64,
) -> io::Result<()> {
    let mut element = Element { value: std::ptr::from_ref(value) as u64, flags, ..element(map, key) };
    // SAFETY: key and value are live and of the map's sizes, which come from the same definitions.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut element) }.map(drop)
}

/// Reads one entry; `NotFound` if it is not there.
pub(super) fn get<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<V> {
    let mut value = V::new_zeroed();
    let mut element = element(map, key);
    element.value = (&raw mut value) as u64;
    // SAFETY: key and value are live and of the map's sizes, which come from the same definitions.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut element) }?;
    Ok(value)
}

/// An entry of an array.
pub(super) fn read<V: FromBytes + IntoBytes>(map: BorrowedFd<'_>, index: u32) -> io::Result<V> {
    get(map, &index)
}

/// Every entry of an array.
pub(super) fn read_array<V: FromBytes + IntoBytes + Copy>(
    map: BorrowedFd<'_>,
    length: u32,
) -> io::Result<Vec<V>> {
    let mut keys: Vec<u32> = zeroed(length as usize)?;
    let mut values: Vec<V> = zeroed(length as usize)?;
    let mut next = 0u32;
    let mut batch = Batch {
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: length,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the buffers hold `length` keys and values of the map's sizes, the position is 4 bytes.
    match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) } {
        // The end of the array was reached.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        result => drop(result?),
    }
    values.truncate(batch.count as usize);
    Ok(values)
}

/// Puts a value into a queue.
pub(super) fn push<V: IntoBytes + Immutable>(map: BorrowedFd<'_>, value: &V) -> io::Result<()> {
    let mut element = Element { map_fd: map.as_raw_fd() as u32, ..Element::default() };
    element.value = std::ptr::from_ref(value) as u64;
    // SAFETY: a queue has no key; the value is live and of the map's size.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut element) }.map(drop)
}

/// Removes one entry; `NotFound` if it is not there.
pub(super) fn remove<K: IntoBytes + Immutable>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut element = element(map, key);
    // SAFETY: the key is live and of the map's size.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut element) }.map(drop)
}

/// Links an iterator's program; it stays for as long as the link is open.
pub(super) fn link_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut link =
        Link { program_fd: program.as_raw_fd() as u32, attach_type: BPF_TRACE_ITER, ..Link::default() };
    // SAFETY: no pointer is passed.
    owned(unsafe { bpf(BPF_LINK_CREATE, &mut link) })
}

/// Begins a list of a linked iterator.
pub(super) fn iterate(link: BorrowedFd<'_>) -> io::Result<File> {
    let mut iterate = Iterate { link_fd: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: no pointer is passed.
    owned(unsafe { bpf(BPF_ITER_CREATE, &mut iterate) }).map(File::from)
}

/// Entry 0 of a per-CPU array, one value a possible CPU. `V` must be a multiple of 8 bytes.
pub(super) fn read_per_cpu<V: FromBytes + IntoBytes + Clone>(map: BorrowedFd<'_>) -> io::Result<Vec<V>> {
    let cpus = aya::util::nr_cpus().map_err(|(path, error)| io::Error::other(format!("{path}: {error}")))?;
    let mut values = V::new_vec_zeroed(cpus).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let key = 0u32;
    let mut element = element(map, &key);
    element.value = values.as_mut_ptr() as u64;
    // SAFETY: the kernel writes one value of 8-byte multiples for each possible CPU, as many as `values` has.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut element) }?;
    Ok(values)
}

/// Every entry of a hash.
pub(super) fn read_all<K, V>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + IntoBytes + Copy,
    V: FromBytes + IntoBytes + Copy,
{
    let mut all = Vec::new();
    let mut size = BATCH;
    let mut keys: Vec<K> = zeroed(size)?;
    let mut values: Vec<V> = zeroed(size)?;
    // The kernel's place in the table: the number of the next bucket.
    let mut position = 0u32;
    let mut started = false;
    loop {
        let mut next = 0u32;
        let mut batch = Batch {
            in_batch: if started { &raw const position as u64 } else { 0 },
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the buffers hold `count` keys and values of the map's sizes, the positions are 4 bytes.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) };
        let last = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // One bucket holds more than the buffers: nothing was consumed.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                size *= 2;
                keys = zeroed(size)?;
                values = zeroed(size)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = batch.count as usize;
        all.extend(keys[..count].iter().copied().zip(values[..count].iter().copied()));
        if last {
            return Ok(all);
        }
        position = next;
        started = true;
    }
}

fn element<K>(map: BorrowedFd<'_>, key: &K) -> Element {
    Element { map_fd: map.as_raw_fd() as u32, key: std::ptr::from_ref(key) as u64, ..Element::default() }
}

fn zeroed<T: FromBytes>(count: usize) -> io::Result<Vec<T>> {
    T::new_vec_zeroed(count).map_err(|_| io::ErrorKind::OutOfMemory.into())
}
