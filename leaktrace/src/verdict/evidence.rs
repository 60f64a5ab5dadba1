//! A judgement and everything that it rests on, as data. Words are made of it in `words`.

use leaktrace_common::stack::StackId;
use serde::{Deserialize, Serialize};

use super::{
    settings::Age,
    stack_name,
    sums::{Unreachable, Watched},
    trie::{FrameId, NodeId},
    verified::Verified,
};

/// What a stack, or all stacks below a frame, are held to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Verdict {
    /// Not enough is known.
    Collecting { lacking: Lacking },
    /// Every test passes, and something that a leak needs is not there yet.
    Suspect { lacking: Lacking },
    /// Every test passed often enough.
    Leak,
    /// Blocks of it cannot be reached any more.
    LeakProven,
    /// Grows less and less.
    WarmUp,
    /// What is old dies.
    Bounded,
    /// Grows and is thrown away again and again.
    Sawtooth,
    /// Grew at one time only.
    Step,
    /// Was called a suspect or a leak, and what followed spoke against it.
    TakenBack { was: Called, because: Refuted },
}

impl Verdict {
    /// As reports name it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Collecting { .. } => "COLLECTING",
            Self::Suspect { .. } => "SUSPECT",
            Self::Leak => "LEAK",
            Self::LeakProven => "LEAK PROVEN",
            Self::WarmUp => "WARM-UP",
            Self::Bounded => "BOUNDED",
            Self::Sawtooth => "SAWTOOTH",
            Self::Step => "STEP",
            Self::TakenBack { .. } => "TAKEN BACK",
        }
    }

    #[must_use]
    pub const fn is_leak(&self) -> bool {
        matches!(self, Self::Leak | Self::LeakProven)
    }

    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        matches!(self, Self::Suspect { .. })
    }

    /// Called a leak, or suspected.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        self.is_leak() || self.is_suspect()
    }
}

/// What was said and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub leak: bool,
    /// By blocks out of reach, which may hold where growth alone would not do.
    pub proven: bool,
    /// Epoch, from 1, in which it was said first.
    pub epoch: u32,
    /// In nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// What a suspect or a leak lacks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Lacking {
    /// Objects that got old.
    Survivors { seen: u64, needed: u64 },
    /// Time since the onset, in epochs.
    Epochs { seen: u32, needed: u32 },
    /// The same in nanoseconds.
    Time { seen_ns: u64, needed_ns: u64 },
    /// Passed evaluations in a row.
    Passes { seen: u32, needed: u32 },
    /// The lower bound of the rate is not above the floor; bytes per second.
    Rate { surely: f64, floor: f64 },
    /// This test neither passes nor fails.
    Decision { test: Test },
    /// More events were lost than a leak may be called from.
    Events { lost: u64, of: u64 },
    /// Of those looked at, so many survivors are free by the allocator's own state.
    Alive { refuted: u64, checked: u64 },
    /// Survivors may have been freed while no probe stood, and their allocator cannot be asked.
    Frees,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// T1
    OldOnesLive,
    /// T2
    NotSlowing,
    /// T3
    NotOnlyRecent,
    /// T4
    Spread,
    /// T5
    Material,
}

impl Test {
    pub const ALL: [Self; 5] =
        [Self::OldOnesLive, Self::NotSlowing, Self::NotOnlyRecent, Self::Spread, Self::Material];

    /// As a person reads it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::OldOnesLive => "old objects do not die",
            Self::NotSlowing => "growth is not slowing",
            Self::NotOnlyRecent => "not only recent objects live",
            Self::Spread => "growth is spread over time",
            Self::Material => "it is enough to matter",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passes,
    /// Neither is sure.
    Open,
    Fails,
}

/// One test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    pub test: Test,
    pub outcome: Outcome,
    /// That what the test claims is so; none for T4 and T5, which count.
    pub probability: Option<f64>,
}

/// Why a verdict was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Refuted {
    /// A test fails that passed.
    Test { test: Test, survivors: u64, deaths: u64 },
    /// Of those looked at, so many survivors are free by the allocator's own state.
    Free { refuted: u64, checked: u64 },
    /// What it was about is gone.
    Gone,
    /// Blocks that were out of reach are so no more.
    Reached,
}

/// Bytes per second, with a 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub bytes_per_s: f64,
    pub low: f64,
    pub high: f64,
}

/// How the survivors are spread over periods of equal work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Periods with a survivor.
    pub filled: usize,
    /// Eight, or fewer where there are fewer epochs.
    pub of: usize,
    /// The largest share of one period, 0 to 1.
    pub largest: f64,
    /// How much more survivors vary than by chance; counts are divided by it.
    pub dispersion: f64,
}

/// How sure, and of what that is made: odds multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// 0 to 1.
    pub probability: f64,
    /// That something that grows is a leak.
    pub prior_odds: f64,
    /// That nothing but a leak keeps on for so long.
    pub for_window: f64,
    /// That survivors are never used: 4 where watched, otherwise 1.
    pub for_untouched: f64,
    /// That they cannot be reached: 300 where so, otherwise 1.
    pub for_unreachable: f64,
}

/// What the judgement rests on. Counts of a sampled heap are counts of samples; bytes and rates are of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub tests: [Tested; 5],
    /// When the growth began that is judged, as a share of all that was traced; 0 is its start.
    pub onset: f64,
    pub onset_ns: u64,
    /// From the onset to now.
    pub window_ns: u64,
    pub window_epochs: u32,
    /// The same without what the process stood idle for: only what it does can tell a leak.
    pub busy_ns: u64,
    pub busy_epochs: u32,
    /// Objects at least this old are counted.
    pub older_than: Age,
    /// Alive at that age, of all history.
    pub survivors: u64,
    pub survivor_bytes: f64,
    /// Died at that age or later, of all history.
    pub deaths: u64,
    /// Upper 95 % bound of the share that dies.
    pub deaths_at_most: f64,
    /// Survivors born since the onset, and all births of that time.
    pub grown: u64,
    pub births: u64,
    pub rate: Rate,
    /// The probability that what was born since the survivors stays at more than half of their rate. Part of T2: a
    /// half is enough for it to pass. None where the process was idle since.
    pub going_on: Option<f64>,
    pub spread: Spread,
    pub confidence: Confidence,
    /// Bytes that this would have to hold at least in the end, if it is a cache.
    pub cache_bytes: f64,
    /// So many old objects would have to die for the verdict to be taken back.
    pub deaths_to_refute: u64,
    pub unreachable: Unreachable,
    pub watched: Watched,
    pub verified: Verified,
    /// Events lost since the onset, and all of them.
    pub lost: u64,
    pub events: u64,
    pub sampled: bool,
}

impl Evidence {
    #[must_use]
    pub fn test(&self, test: Test) -> Tested {
        self.tests[test as usize]
    }
}

/// One verdict about everything below one frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    pub node: NodeId,
    /// Outermost first, down to the deepest frame that all of it has in common; empty for a whole process.
    pub path: Vec<FrameId>,
    /// Where there are several stacks below: the frames that all of them end in, outermost first.
    pub tail: Vec<FrameId>,
    /// Stacks that it is about.
    pub stacks: u32,
    /// Those that hold something; none where nothing was ever suspected.
    #[serde(serialize_with = "stack_name::each")]
    pub members: Vec<StackId>,
    pub verdict: Verdict,
    pub evidence: Evidence,
    /// Evaluations in a row that passed.
    pub passes: u32,
    /// Epoch in which it was called what it is called now, from 1; none for what was never suspected.
    pub since: Option<Called>,
    /// Leaks that were called here and taken back, over the whole session.
    pub taken_back: u32,
}
