//! What processes map and when they exec, told by the kernel as it happens.
//!
//! One `perf_event_open` dummy event a CPU: no BPF and no cost to the processes. A process that lives for a
//! millisecond has its mappings known after its end, where /proc would be gone.

use std::{io, path::PathBuf};

use perf_event::{Builder, Clock, SampleFlag, Sampler, data, events::Software};

/// A change of a process's address space, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub tgid: u32,
    pub at: u64,
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// All mappings are gone; those of the new program follow.
    Exec { comm: String },
    /// An executable mapping was made. `path` is as the kernel names it: a file, `[vdso]` or `//anon`.
    Mapping { start: u64, end: u64, file_offset: u64, device: (u32, u32), inode: u64, path: PathBuf },
}

/// Of all rings together, on a machine of few CPUs: where a thousand others want one, leaktrace may have to wait for seconds.
const ALL_RINGS: usize = 4 << 20;
/// Room for some thousand mappings between two drains.
const LEAST_RING: usize = 1 << 19;

/// Record numbers and the flag of an exec's comm record,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/perf_event.h>.
const LOST: u32 = 2;
const COMM: u32 = 3;
const MMAP2: u32 = 10;
const COMM_EXEC: u16 = 1 << 13;

/// The open events.
pub struct MappedEvents {
    cpus: Vec<Sampler>,
    /// Records that the kernel dropped because a ring was full, and those that could not be read.
    pub lost: u64,
}

impl MappedEvents {
    /// Starts listening on every online CPU. What is mapped on one that is switched on later is found in /proc, once a
    /// stack shows an address there.
    pub fn open() -> io::Result<Self> {
        let cpus = aya::util::online_cpus()
            .map_err(|(path, error)| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        let room = ring_bytes(cpus.len());
        let cpus = cpus.into_iter().map(|cpu| open_cpu(cpu as usize, room)).collect::<io::Result<_>>()?;
        Ok(Self { cpus, lost: 0 })
    }

    /// What happened since the last call, in order of time.
    pub fn drain(&mut self, out: &mut Vec<Mapped>) {
        for cpu in &mut self.cpus {
            while let Some(record) = cpu.next_record() {
                // The library panics on record kinds newer than itself: it is given only those asked for.
                if !matches!(record.ty(), LOST | COMM | MMAP2) {
                    continue;
                }
                let (misc, at) = (record.misc(), time_of(&record.to_contiguous()));
                match record.parse_record() {
                    Ok(data::Record::Lost(lost)) => self.lost += lost.lost,
                    Ok(parsed) => out.extend(mapped(parsed, misc, at)),
                    Err(_) => self.lost += 1,
                }
            }
        }
        out.sort_by_key(|mapped| mapped.at);
    }
}

/// Of each ring; a power of two.
fn ring_bytes(cpus: usize) -> usize {
    (ALL_RINGS / cpus.next_power_of_two()).max(LEAST_RING)
}

fn open_cpu(cpu: usize, room: usize) -> io::Result<Sampler> {
    let mut sampler = Builder::new(Software::DUMMY)
        .any_pid()
        .one_cpu(cpu)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .sample(SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .build()?
        .sampled(room)?;
    sampler.enable()?;
    Ok(sampler)
}

fn mapped(record: data::Record<'_>, misc: u16, at: u64) -> Option<Mapped> {
    match record {
        data::Record::Comm(comm) if misc & COMM_EXEC != 0 => {
            let name = comm.comm.split(|byte| *byte == 0).next().unwrap_or_default();
            let comm_exec = Change::Exec { comm: String::from_utf8_lossy(name).into_owned() };
            Some(Mapped { tgid: comm.pid, at, change: comm_exec })
        }
        data::Record::Mmap2(map) => {
            let change = Change::Mapping {
                start: map.addr,
                end: map.addr.saturating_add(map.len),
                file_offset: map.pgoff,
                device: (map.maj().unwrap_or(0), map.min().unwrap_or(0)),
                inode: map.ino().unwrap_or(0),
                path: PathBuf::from(map.filename_os()),
            };
            Some(Mapped { tgid: map.pid, at, change })
        }
        _ => None,
    }
}

/// The time stands at the end of every record, as the only field asked for of the sample id.
fn time_of(record: &[u8]) -> u64 {
    record.last_chunk::<8>().map_or(0, |time| u64::from_ne_bytes(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cpus_have_smaller_rings() {
        assert_eq!([1, 2, 3, 8, 128].map(ring_bytes), [4 << 20, 2 << 20, 1 << 20, 512 << 10, 512 << 10]);
    }

    #[test]
    fn the_time_is_read_from_the_end_of_a_record() {
        assert_eq!(time_of(&[9, 9, 1, 0, 0, 0, 0, 0, 0, 0]), 1);
        assert_eq!(time_of(&[1, 2]), 0);
    }
}
