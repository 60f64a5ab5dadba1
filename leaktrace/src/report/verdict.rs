//! Verdicts as reports show them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Report, words};
use crate::{
    judge::{Frames, Heap, Judges, Said, Shown},
    ledger::Ledger,
    symbolize::Names,
    verdict::{self, Called, Evidence, FrameId, HeapGrowth, Judgement, stack_name},
};

/// What one frame's memory is held to be, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub pid: u32,
    pub process: u32,
    /// `native` or `javascript`.
    pub heap: Cow<'static, str>,
    /// Tells isolates apart; none for native memory.
    pub isolate: Option<String>,
    /// `LEAK PROVEN`, `LEAK`, `SUSPECT`, `TAKEN BACK`, `COLLECTING`, `WARM-UP`, `BOUNDED`, `SAWTOOTH` or `STEP`.
    pub verdict: Cow<'static, str>,
    /// The same in words, with what it rests on and what would change it.
    pub text: String,
    /// Probability that it is a leak.
    pub confidence: f64,
    pub bytes_per_second: f64,
    /// The 95 % confidence interval of that.
    pub bytes_per_second_low: f64,
    pub bytes_per_second_high: f64,
    /// How many stacks meet in it.
    pub stacks: u32,
    /// The frames that they have in common, innermost first.
    pub frames: Vec<VerdictFrame>,
    /// [`super::Stack::stack`] of each stack that it is about; none where nothing was ever suspected.
    pub members: Vec<String>,
    /// The pattern of `--suppress` that fits: shown, and no reason to fail.
    pub suppressed: Option<String>,
    /// The verdict as data: what it lacks, or what it was and why it was taken back.
    pub state: verdict::Verdict,
    /// Evaluations in a row that passed.
    pub passes: u32,
    /// Since when it has been called so; none for what was never suspected.
    pub since: Option<Called>,
    /// Leaks that were called here and taken back.
    pub taken_back: u32,
    pub evidence: Evidence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictFrame {
    pub function: Option<String>,
    /// Path of the file that native code is from.
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// memwatch's rule on one heap: an early sign, no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growing {
    pub pid: u32,
    pub process: u32,
    #[serde(flatten)]
    pub growth: HeapGrowth,
}

impl Verdict {
    pub(super) fn all(judges: &Judges, names: &Names, ledger: &Ledger) -> Vec<Self> {
        judges.said().map(|said| Self::of(&said, judges.frames(), names, ledger)).collect()
    }

    fn of(said: &Said<'_>, frames: &Frames, names: &Names, ledger: &Ledger) -> Self {
        let Said { process, heap, judgement, ref stacks, suppressed } = *said;
        let members = stacks.iter().map(|stack| stack_name(*stack)).collect();
        let Judgement { path, tail, stacks, evidence, .. } = judgement;
        let get = |id: FrameId| frames.get(id, names, ledger);
        let name = |id: FrameId| get(id).map_or_else(String::new, |shown| printable(&shown.label()));
        let shown = path.iter().chain(tail).rev().filter_map(|id| get(*id));
        Self {
            pid: ledger.processes().find(|known| known.id == process).map_or(0, |known| known.pid),
            process: process.0,
            heap: if heap == Heap::Native { "native" } else { "javascript" }.into(),
            isolate: if let Heap::JavaScript(heap) = heap { Some(format!("{heap:#x}")) } else { None },
            verdict: judgement.verdict.name().into(),
            text: words(judgement, &name),
            confidence: evidence.confidence.probability,
            bytes_per_second: evidence.rate.bytes_per_s,
            bytes_per_second_low: evidence.rate.low,
            bytes_per_second_high: evidence.rate.high,
            stacks: *stacks,
            frames: shown
                .map(|Shown { module, function, file, line }| VerdictFrame { function, module, file, line })
                .collect(),
            members,
            suppressed: suppressed.map(str::to_owned),
            state: judgement.verdict.clone(),
            passes: judgement.passes,
            since: judgement.since,
            taken_back: judgement.taken_back,
            evidence: evidence.clone(),
        }
    }

    /// Found, and not suppressed.
    pub(crate) fn is_leak(&self) -> bool {
        self.suppressed.is_none() && self.state.is_leak()
    }

    /// The same, or suspected.
    pub(crate) fn is_bad(&self) -> bool {
        self.suppressed.is_none() && self.state.is_bad()
    }

    /// Worth a paragraph: what is or was called something, not what is still looked at or found to be none.
    pub(crate) fn is_told(&self) -> bool {
        let is_called = ["LEAK PROVEN", "LEAK", "SUSPECT", "TAKEN BACK"].contains(&self.verdict.as_ref());
        self.suppressed.is_none() && (is_called || self.since.is_some())
    }
}

/// How sure something has to be for a run to fail by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    Leak,
    Suspect,
}

impl FailOn {
    /// Whether something was found, and not suppressed.
    #[must_use]
    pub fn is_met(self, report: &Report) -> bool {
        report.verdicts.iter().any(match self {
            Self::Leak => Verdict::is_leak,
            Self::Suspect => Verdict::is_bad,
        })
    }
}

/// Names come from the traced program, and must not write to the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}
