//! The kernel side's clock and page size.

#![allow(unsafe_code, reason = "clock_gettime and sysconf have no safe form in the standard library")]

/// Nanoseconds of `CLOCK_MONOTONIC`, which the kernel side stamps with.
#[must_use]
pub fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of a CPU that the calling thread has used.
#[must_use]
pub fn of_thread() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the structure passed.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Bytes of a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    // SAFETY: takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It cannot fail; every machine's pages are multiples of 4 KiB.
    u64::try_from(size).unwrap_or(4096)
}
