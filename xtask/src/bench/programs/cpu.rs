//! CPU time of processes.

use std::fs;

use anyhow::{Context, Result};

/// Seconds of all threads, those included that have ended; the kernel shows hundredths.
pub(in crate::bench) fn cpu_of(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_name, numbers) = stat.rsplit_once(')').context("no name in stat")?;
    // The first is the third field; utime and stime are the 14th and 15th.
    let numbers = numbers.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(numbers.sum::<Result<f64, _>>()? / 100.0)
}

/// A process and all that it started, itself first.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    found
}
