//! What `--prove` did with one process, as reports show it.

use serde::{Deserialize, Serialize};

use super::amount::{bytes, count, counted, duration};
use crate::reach::{Scan, Unsure};

/// The search of one process's memory for what points to its blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub pid: u32,
    pub process: u32,
    /// Scans that count, of which so many in a row are a proof; and those that were not sure, and found nothing.
    pub scans: u32,
    pub scans_needed: u32,
    pub scans_unsure: u32,
    /// Why the last scan is not sure; none if it is.
    pub unsure: Option<String>,
    /// Why there was no further scan; none while there may be one.
    pub not_searched: Option<String>,
    /// Blocks that are proven to be lost.
    pub lost: u64,
    pub lost_bytes: u64,
    /// Blocks that were and that have been freed all the same: their stacks are not believed again.
    pub refuted: u64,
    /// Of the last scan: blocks, and those that were not judged as too young, or as sharing bytes with another.
    pub blocks: u64,
    pub young: u64,
    pub overlapping: u64,
    pub unreached: u64,
    pub passes: u32,
    pub bytes_read: u64,
    pub nanoseconds: u64,
    /// Shared memory that this process had not touched, and that was left so.
    pub absent_shared_bytes: u64,
    /// Of a CPU, by all scans together.
    pub cpu_nanoseconds: u64,
}

impl Proof {
    #[must_use]
    pub const fn new(pid: u32, process: u32, scans_needed: u32) -> Self {
        Self {
            pid,
            process,
            scans: 0,
            scans_needed,
            scans_unsure: 0,
            unsure: None,
            not_searched: None,
            lost: 0,
            lost_bytes: 0,
            refuted: 0,
            blocks: 0,
            young: 0,
            overlapping: 0,
            unreached: 0,
            passes: 0,
            bytes_read: 0,
            nanoseconds: 0,
            absent_shared_bytes: 0,
            cpu_nanoseconds: 0,
        }
    }

    /// Takes a scan in, and what it took of a CPU in nanoseconds.
    pub fn take(&mut self, scan: &Scan, cpu: u64) {
        let Scan {
            unsure,
            counts,
            blocks,
            young,
            overlapping,
            unreached,
            unreached_bytes: _,
            refuted,
            passes,
            bytes,
            nanoseconds,
            absent_shared,
        } = *scan;
        self.scans += u32::from(counts);
        self.scans_unsure += u32::from(unsure.is_some());
        self.unsure = unsure.map(|unsure| why(unsure, passes));
        self.not_searched = None;
        self.refuted += refuted;
        (self.blocks, self.young, self.overlapping, self.unreached) = (blocks, young, overlapping, unreached);
        (self.passes, self.bytes_read, self.nanoseconds) = (passes, bytes, nanoseconds);
        self.absent_shared_bytes = absent_shared;
        self.cpu_nanoseconds += cpu;
    }

    /// Its process has ended, or runs another program.
    pub fn ended(&mut self) {
        let why = "its memory is gone";
        self.not_searched = Some(why.to_owned());
    }

    /// One line: what was proven or why nothing could be, and what it took.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { scans, scans_needed, lost, lost_bytes, .. } = *self;
        let mut text = match (&self.unsure, &self.not_searched) {
            _ if lost > 0 => {
                format!("{} ({}) proven to be lost", counted(lost, "block"), bytes(lost_bytes))
            }
            (_, Some(why)) if scans < scans_needed => {
                format!("not judged, because {why} after {scans} of {scans_needed} scans")
            }
            (Some(why), _) => format!("not judged, because {why}"),
            _ if scans < scans_needed => {
                format!("not judged yet, because {scans} of {scans_needed} scans were made")
            }
            _ => "no block is proven to be lost".to_owned(),
        };
        let scans = u64::from(scans + self.scans_unsure);
        if scans > 0 {
            text.push_str(&format!(
                "; {} took {} of a CPU, the last read {} in {} by {} for {}",
                counted(scans, "scan"),
                duration(self.cpu_nanoseconds),
                bytes(self.bytes_read),
                duration(self.nanoseconds),
                // Not `counted`, which knows no such plural.
                if self.passes == 1 { "1 pass".to_owned() } else { format!("{} passes", self.passes) },
                counted(self.blocks, "block"),
            ));
        }
        for (number, what) in [
            (self.scans_unsure, "not sure"),
            (u32::try_from(self.young).unwrap_or(u32::MAX), "too young to be judged"),
            (u32::try_from(self.overlapping).unwrap_or(u32::MAX), "not judged as they share bytes"),
            (u32::try_from(self.refuted).unwrap_or(u32::MAX), "proven lost and freed since"),
        ] {
            if number > 0 {
                text.push_str(&format!("; {} {what}", count(number.into())));
            }
        }
        text
    }
}

fn why(unsure: Unsure, passes: u32) -> String {
    match unsure {
        Unsure::Moving => format!("its pointers moved on during {passes} passes over its memory"),
        Unsure::Vanished(of) => format!("{} were unmapped while they were read", bytes(of)),
        Unsure::Swapped(of) => {
            format!("{} are swapped out, and reading them would bring them in", bytes(of))
        }
        Unsure::Threads(of) => format!("the registers of {} are not known", counted(of, "thread")),
        Unsure::Rings(of) => {
            format!("it has {} of io_uring or kernel aio, which hold pointers out of sight", count(of))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_proof_says_why_it_is_so() {
        let mut proof = Proof::new(7, 1, 3);
        assert_eq!(proof.words(), "not judged yet, because 0 of 3 scans were made");
        let scan = Scan {
            counts: true,
            blocks: 2,
            passes: 4,
            bytes: 1 << 20,
            nanoseconds: 5_000_000,
            ..Scan::default()
        };
        (0..3).for_each(|_| proof.take(&scan, 5_000_000));
        let cost = "3 scans took 15 ms of a CPU, the last read 1.0 MiB in 5 ms by 4 passes for 2 blocks";
        assert_eq!(proof.words(), format!("no block is proven to be lost; {cost}"));
        proof.take(&Scan { unsure: Some(Unsure::Rings(1)), counts: false, ..scan }, 1);
        let words = proof.words();
        assert!(words.starts_with("not judged, because it has 1 of io_uring"), "{words}");
        assert!(words.ends_with("; 1 not sure"), "{words}");
        (proof.lost, proof.lost_bytes) = (2, 80);
        assert!(proof.words().starts_with("2 blocks (80 B) proven to be lost"), "{}", proof.words());
        let mut early = Proof::new(7, 1, 3);
        early.ended();
        assert_eq!(early.words(), "not judged, because its memory is gone after 0 of 3 scans");
    }
}
