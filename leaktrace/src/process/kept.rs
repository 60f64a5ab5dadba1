//! Addresses that the kernel keeps for a process and gives back later: a block may be held by nothing else.

use std::{fs, io, path::Path};

/// What a process has lent to the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What epoll and timers hand back.
    pub words: Vec<u64>,
    /// `io_uring`s: what they hand back is shown by nothing.
    pub rings: u64,
}

impl Kept {
    /// # Errors
    /// The process has ended, or this user may not look into it.
    pub fn of(pid: u32) -> io::Result<Self> {
        let folder = format!("/proc/{pid}");
        let mut kept = Self::default();
        for file in fs::read_dir(format!("{folder}/fd"))?.flatten() {
            // Closed meanwhile.
            let Ok(target) = fs::read_link(file.path()) else { continue };
            if target == Path::new("anon_inode:[io_uring]") {
                kept.rings += 1;
            } else if target == Path::new("anon_inode:[eventpoll]") {
                let number = file.file_name();
                let info = Path::new(&folder).join("fdinfo").join(number);
                kept.words.extend(of_epoll(&fs::read_to_string(info).unwrap_or_default()));
            }
        }
        // Only kernels with CONFIG_CHECKPOINT_RESTORE tell of timers.
        kept.words.extend(of_timers(&fs::read_to_string(format!("{folder}/timers")).unwrap_or_default()));
        Ok(kept)
    }
}

/// `tfd:        5 events:       19 data:     7f0c00000010  pos:0 ino:3d sdev:d`
fn of_epoll(info: &str) -> impl Iterator<Item = u64> {
    info.lines().filter_map(|line| {
        let word = line.split_once("data:")?.1.split_whitespace().next()?;
        u64::from_str_radix(word, 16).ok()
    })
}

/// `signal: 60/00007fff86e452a8`
fn of_timers(timers: &str) -> impl Iterator<Item = u64> {
    timers.lines().filter_map(|line| {
        let word = line.strip_prefix("signal:")?.split_once('/')?.1;
        u64::from_str_radix(word.trim(), 16).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_epoll_and_timers_hand_back_is_read() {
        let info = "pos:\t0\nflags:\t02\ntfd:        5 events:       19 data:     7f0c00000010  pos:0 ino:3d sdev:d\n";
        assert_eq!(of_epoll(info).collect::<Vec<_>>(), [0x7f0c_0000_0010]);
        let timers = "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n";
        assert_eq!(of_timers(timers).collect::<Vec<_>>(), [0x7fff_86e4_52a8]);
    }
}
