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

/// Nanoseconds of a CPU that a process has used, all its threads together; none where it has ended.
#[must_use]
pub fn of_process(pid: u32) -> Option<u64> {
    of(pid, SCHEDULED)
}

/// The same of one thread of this process, by its tid.
#[must_use]
pub fn of_own_thread(tid: u32) -> Option<u64> {
    of(tid, SCHEDULED | OF_THREAD)
}

/// As clock_getcpuclockid makes clocks: <https://github.com/torvalds/linux/blob/v6.12/include/linux/posix-timers_types.h>.
const SCHEDULED: libc::clockid_t = 2;
const OF_THREAD: libc::clockid_t = 4;

fn of(id: u32, kind: libc::clockid_t) -> Option<u64> {
    let id = libc::clockid_t::try_from(id).ok()?;
    try_read(!id << 3 | kind)
}

fn read(clock: libc::clockid_t) -> u64 {
    // Clocks of our own are always there.
    try_read(clock).unwrap_or_default()
}

fn try_read(clock: libc::clockid_t) -> Option<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the structure passed.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut now) } != 0;
    (!failed).then_some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// Bytes of a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    // SAFETY: takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It cannot fail; every machine's pages are multiples of 4 KiB.
    u64::try_from(size).unwrap_or(4096)
}
