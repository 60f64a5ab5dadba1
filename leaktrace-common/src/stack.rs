//! Stacks as the kernel side takes and names them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most frames that are taken; what is deeper is cut and the stack marked [`StopReason::TooDeep`].
/// A power of two, because the kernel side masks its index with it for the verifier.
pub const MAX_FRAMES: usize = 256;

/// Names a stack of one process by its content: a hash over the process, the hook and every frame.
///
/// The kernel keeps a second, independent hash beside it ([`StackEntry::check`]); where the two disagree the
/// stacks collided, which is counted and attributed to [`StackId::UNKNOWN`].
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct StackId(pub u64);

impl StackId {
    /// Blocks whose stack could not be kept: table full, collision, or no scratch space.
    pub const UNKNOWN: Self = Self(0);
}

/// Value of the kernel map `STACKS`, whose key is a [`StackId`]: what this stack allocated and freed.
///
/// The counters only grow. Live bytes are `alloc_bytes - freed_bytes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StackEntry {
    /// Second hash of the content.
    pub check: u64,
    /// Blocks handed out.
    pub allocs: u64,
    /// Bytes asked for by them.
    pub alloc_bytes: u64,
    /// Blocks of this stack that were freed since.
    pub frees: u64,
    /// Bytes of those.
    pub freed_bytes: u64,
    /// [`ProcessId`] the stack belongs to.
    pub process: u32,
    /// 1 once the stack itself travelled to the agent. A full ring leaves it 0, and the next hit tries again.
    pub sent: u32,
    /// Blocks by their age at death, see [`age_bucket`].
    pub deaths: [u32; AGE_BUCKETS],
    /// The thread that had the stack when its name was last compared with `comm`.
    pub tid: u32,
    /// 1 once threads of different names had it: then it is no one's.
    pub shared: u32,
    /// Name of the thread that had it first.
    pub comm: ThreadName,
}

impl StackEntry {
    /// Name of the threads that have the stack, where they all have one and it could be read.
    #[must_use]
    pub fn thread(&self) -> Option<ThreadName> {
        (self.shared == 0 && self.comm != ThreadName::default()).then_some(self.comm)
    }
}

/// A thread's name as the kernel has it, `TASK_COMM_LEN` bytes filled up with 0.
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L316>
pub type ThreadName = [u8; 16];

/// Length of [`StackEntry::deaths`].
pub const AGE_BUCKETS: usize = 24;

/// Bucket `b` above 0 holds ages from `2^(b-1)` to below `2^b` units, bucket 0 what is below one, the last one all that
/// is older. A unit is about a millisecond (2^20 ns) for native memory, so that the last begins at 75 minutes; for
/// JavaScript it is a whole collection.
#[must_use]
#[inline(always)]
pub const fn age_bucket(units: u64) -> usize {
    // Not by counting leading zeros, which BPF has no instruction for.
    let mut bucket = 0;
    let mut rest = units;
    let mut step = 16;
    if rest >> 32 != 0 {
        return AGE_BUCKETS - 1;
    }
    while step != 0 {
        if rest >> step != 0 {
            rest >>= step;
            bucket += step;
        }
        step >>= 1;
    }
    let bucket = if rest == 0 { 0 } else { bucket + 1 };
    if bucket < AGE_BUCKETS { bucket } else { AGE_BUCKETS - 1 }
}

/// Nanoseconds to the unit of native memory's [`age_bucket`], as a shift.
pub const AGE_UNIT_SHIFT: u32 = 20;

/// Why a stack has no further frame.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// The outermost frame was reached.
    End = 1,
    /// More frames than [`MAX_FRAMES`].
    TooDeep = 2,
    /// The stack could not be read (paged out or not mapped).
    Unreadable = 3,
    /// The frame pointer does not lead to a caller: code built without frame pointers, or hand-written.
    NoFramePointer = 4,
    /// The process's unwind tables are not there (yet): it has just been started or found.
    NoTables = 5,
    /// Code in no mapping that the tables know: mapped since.
    UnknownCode = 6,
    /// Code that its binary's call frame information leaves out.
    NoUnwindInfo = 7,
    /// Call frame information of a form that the tables cannot say.
    Unsupported = 8,
    /// What was found as the caller's frame does not lie above this one.
    BadFrame = 9,
    /// The outermost frame was reached, and on the way frame pointers were followed through code in no mapping that the
    /// tables know (in a process that makes code it is most likely that, and may be a library just opened) or in a file
    /// that could not be read.
    Guessed = 10,
}

impl StopReason {
    pub const ALL: [Self; 10] = [
        Self::End,
        Self::TooDeep,
        Self::Unreadable,
        Self::NoFramePointer,
        Self::NoTables,
        Self::UnknownCode,
        Self::NoUnwindInfo,
        Self::Unsupported,
        Self::BadFrame,
        Self::Guessed,
    ];

    /// Whether the stack reaches its outermost frame; reports mark every other one.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::End)
    }

    /// Whether tables were missing that may be there later: then the agent can go on from here.
    #[must_use]
    #[inline(always)]
    pub const fn wants_tables(self) -> bool {
        matches!(self, Self::NoTables | Self::UnknownCode)
    }

    /// What a report says of a stack that ended so.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::End => "complete",
            Self::TooDeep => "deeper than 256 frames",
            Self::Unreadable => "stack memory unreadable",
            Self::NoFramePointer => "no frame pointer",
            Self::NoTables => "unwind tables not ready yet",
            Self::UnknownCode => "code mapped since the last look",
            Self::NoUnwindInfo => "code without unwind information",
            Self::Unsupported => "unwind information of an unsupported form",
            Self::BadFrame => "frames out of order",
            Self::Guessed => {
                "frame pointers followed through code mapped since the last look, or of a file that could not be read"
            }
        }
    }
}

impl TryFrom<u32> for StopReason {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Self::ALL.into_iter().find(|reason| *reason as u32 == value).ok_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_into_buckets_of_powers_of_two() {
        for (units, bucket) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1 << 21, 22), ((1 << 22) - 1, 22)] {
            assert_eq!(age_bucket(units), bucket, "{units}");
        }
        for units in [1 << 22, 1 << 31, 1 << 32, u64::MAX] {
            assert_eq!(age_bucket(units), AGE_BUCKETS - 1, "{units}");
        }
    }
}
