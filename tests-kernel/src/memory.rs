//! The memory of a process, as the kernel tells it.

use std::fs;

use anyhow::{Context, Result};

/// Bytes of a line of `/proc/PID/status`, such as `VmRSS`.
pub fn bytes(pid: u32, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value =
        |line: &str| line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok();
    let kib: u64 = status.lines().find_map(value).with_context(|| format!("no {key} of process {pid}"))?;
    Ok(kib << 10)
}
