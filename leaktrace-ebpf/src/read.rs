//! The kernel helpers that read memory and time, one safe function each.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns,
    generated::{
        bpf_get_attach_cookie, bpf_get_current_task_btf, bpf_get_func_ip, bpf_probe_read_kernel,
        bpf_probe_read_user,
    },
};
use leaktrace_common::stack::ThreadName;

/// Reads plain words of the current process; false where the memory is not there.
#[inline(always)]
pub fn user<const WORDS: usize>(address: u64, into: &mut [u64; WORDS]) -> bool {
    // SAFETY: the helper writes at most the given length, which is the array's, and any bytes are valid words.
    unsafe {
        bpf_probe_read_user(into.as_mut_ptr().cast(), (WORDS * 8) as u32, address as *const c_void) == 0
    }
}

/// A word of the current process.
#[inline(always)]
pub fn user_word(address: u64) -> Option<u64> {
    let mut words = [0];
    user(address, &mut words).then_some(words[0])
}

/// Four bytes of the current process.
#[inline(always)]
pub fn user_u32(address: u64) -> Option<u32> {
    let mut value = 0u32;
    // SAFETY: the helper writes 4 bytes, and any bytes are a valid u32.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 4, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// Two bytes of the current process.
#[inline(always)]
pub fn user_u16(address: u64) -> Option<u16> {
    let mut value = 0u16;
    // SAFETY: the helper writes 2 bytes, and any bytes are a valid u16.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 2, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// A byte of the current process.
#[inline(always)]
pub fn user_u8(address: u64) -> Option<u8> {
    let mut value = 0u8;
    // SAFETY: the helper writes one byte, and any byte is a valid u8.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 1, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// Reads 4 bytes of kernel memory.
#[inline(always)]
pub fn kernel_u32(address: u64) -> Option<u32> {
    let mut value = 0u32;
    // SAFETY: the helper writes 4 bytes, and any bytes are a valid u32.
    let failed = unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 4, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// Reads 8 bytes of kernel memory.
#[inline(always)]
pub fn kernel_u64(address: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the helper writes 8 bytes, and any bytes are a valid u64.
    let failed = unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// The kernel's `task_struct` of the current thread, a pointer whose type the verifier knows: [`field`] of it needs no
/// helper, which would take 35 ns.
#[inline(always)]
pub fn task() -> u64 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { bpf_get_current_task_btf() as u64 }
}

/// A word of a kernel structure.
///
/// # Safety
/// `structure` must come from [`task`], or from this for a member that is a pointer.
#[inline(always)]
pub unsafe fn field(structure: u64, offset: u64) -> u64 {
    // SAFETY: as above.
    unsafe { ((structure + offset) as *const u64).read_volatile() }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { bpf_ktime_get_ns() }
}

/// A random number.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { bpf_get_prandom_u32() }
}

/// The current thread: tgid in the upper half, tid in the lower.
#[inline(always)]
pub fn thread() -> u64 {
    bpf_get_current_pid_tgid()
}

/// The current thread's name; all 0 where it cannot be read.
#[inline(always)]
pub fn comm() -> ThreadName {
    bpf_get_current_comm().unwrap_or_default()
}

/// Where the function begins whose entry or return is probed.
#[inline(always)]
pub fn probed_function(context: *mut c_void) -> u64 {
    // SAFETY: the context is the one that the kernel gave to this program.
    unsafe { bpf_get_func_ip(context) }
}

/// The cookie that the probe was attached with.
#[inline(always)]
pub fn cookie(context: *mut c_void) -> u64 {
    // SAFETY: the context is the one that the kernel gave to this program.
    unsafe { bpf_get_attach_cookie(context) }
}
