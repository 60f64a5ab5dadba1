//! leaktrace's JSON report, as far as tests read it. Numbers are unsigned: a negative one does not parse.

use std::{collections::BTreeMap, fs, ops::AddAssign, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::javascript::{Generation, Process, Type};

#[derive(Debug, Deserialize)]
pub struct Report {
    pub schema: String,
    pub version: u32,
    pub cost: Option<Cost>,
    pub processes: Vec<Process>,
    pub totals: Sums,
    frames: Vec<Frame>,
    pub stacks: Vec<Stack>,
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
    pub diff: Option<Diff>,
    #[serde(default)]
    pub proofs: Vec<Proof>,
    pub coverage: Coverage,
}

/// What tracing took of the processes' time.
#[derive(Clone, Debug, Deserialize)]
pub struct Cost {
    pub budget: Option<f64>,
    pub share: f64,
    pub spent_ns: u64,
    pub own_ns: u64,
    pub hits: u64,
    pub hit_ns: u64,
    pub pauses: u64,
    pub watched: f64,
    pub over_budget: Option<String>,
}

/// What changed between two moments.
#[derive(Debug, Deserialize)]
pub struct Diff {
    /// `start` or `mark`, and `mark` or `end`
    pub from: String,
    pub to: String,
    pub types: Vec<Changed>,
    pub stacks: Vec<ChangedStack>,
}

#[derive(Debug, Deserialize)]
pub struct Changed {
    /// A type of JavaScript, or a size class.
    pub what: String,
    pub change: Change,
}

#[derive(Debug, Deserialize)]
pub struct ChangedStack {
    pub stack: String,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Change {
    pub blocks: i64,
    pub bytes: i64,
}

/// What `--prove` did with one process.
#[derive(Debug, Deserialize)]
pub struct Proof {
    pub pid: u32,
    /// That count.
    pub scans: u32,
    pub scans_unsure: u32,
    pub unsure: Option<String>,
    pub not_searched: Option<String>,
    pub lost: u64,
    pub refuted: u64,
    pub blocks: u64,
    pub young: u64,
    pub bytes_read: u64,
    pub nanoseconds: u64,
    pub cpu_nanoseconds: u64,
}

/// What a stack, or all stacks that share these frames, are held to be.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub pid: u32,
    /// `native` or `javascript`
    pub heap: String,
    /// `LEAK`, `SUSPECT`, `BOUNDED`, ...
    pub verdict: String,
    /// As a person reads it.
    pub text: String,
    pub frames: Vec<Frame>,
    /// Ids of the stacks that it is about.
    #[serde(default)]
    pub members: Vec<String>,
    pub suppressed: Option<String>,
    /// As it stands in the report.
    #[serde(default)]
    pub evidence: serde_json::Value,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Sums {
    pub live_bytes: u64,
    pub live_blocks: u64,
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    pub freed_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub struct Stack {
    /// As verdicts and differences name it.
    pub stack: String,
    pub pid: u32,
    /// `heap`, `mapping` or `javascript`
    pub kind: String,
    /// The allocator's function.
    pub function: Option<String>,
    /// Of the threads that allocate by it.
    pub thread: Option<String>,
    #[serde(flatten)]
    pub sums: Sums,
    pub oldest_age_ns: Option<u64>,
    pub median_age_ns: Option<u64>,
    pub error_bytes: Option<u64>,
    pub types: Vec<Type>,
    pub generations: Vec<Generation>,
    pub complete: bool,
    pub stopped: Option<String>,
    #[serde(rename = "frames")]
    places: Vec<usize>,
    /// Those at the places, the allocator's caller first.
    #[serde(skip)]
    pub frames: Vec<Arc<Frame>>,
}

#[derive(Debug, Deserialize)]
pub struct Frame {
    pub function: Option<String>,
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub column: Option<u32>,
    #[serde(default)]
    pub inlined: bool,
    /// The place within the function is not known.
    #[serde(default)]
    pub line_of_function: bool,
}

#[derive(Debug, Deserialize)]
pub struct Coverage {
    pub events_seen: u64,
    pub lost: u64,
    pub counters: BTreeMap<String, u64>,
    pub stacks: u64,
    pub stacks_incomplete: u64,
    pub addresses: u64,
    pub addresses_unknown: u64,
    #[serde(default)]
    pub ended_processes: u64,
    #[serde(default)]
    pub unread_processes: u64,
    #[serde(default)]
    pub javascript_unread: BTreeMap<String, u64>,
}

impl Report {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("no report at {}", path.display()))?;
        let mut report: Self =
            serde_json::from_str(&text).with_context(|| format!("not a report: {text:.400}"))?;
        ensure!(report.schema == "leaktrace-report", "another schema: {}", report.schema);
        ensure!(report.version == 2, "another version: {}", report.version);
        let listed: Vec<Arc<Frame>> = report.frames.drain(..).map(Arc::new).collect();
        for stack in &mut report.stacks {
            let frames = stack.places.iter().map(|at| listed.get(*at).cloned());
            stack.frames = frames.collect::<Option<_>>().context("a stack has a frame that is not listed")?;
        }
        Ok(report)
    }

    /// Stacks with this function in them.
    pub fn stacks_at(&self, site: &str) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter(move |stack| stack.frames.iter().any(|frame| frame.is(site)))
    }

    /// What all stacks with this function in them come to.
    #[must_use]
    pub fn at(&self, site: &str) -> Sums {
        sum(self.stacks_at(site))
    }

    /// What this function of the allocator handed out, to whomever.
    #[must_use]
    pub fn by(&self, allocator: &str) -> Sums {
        sum(self.stacks.iter().filter(|stack| stack.function.as_deref() == Some(allocator)))
    }

    /// The same as [`Self::at`] of one process.
    #[must_use]
    pub fn at_in(&self, site: &str, pid: u32) -> Sums {
        sum(self.stacks_at(site).filter(|stack| stack.pid == pid))
    }

    /// # Panics
    /// When the report does not name the counter.
    #[must_use]
    pub fn counter(&self, key: &str) -> u64 {
        *self.coverage.counters.get(key).unwrap_or_else(|| panic!("no counter {key} in the report"))
    }

    /// The change of a type or size class.
    #[must_use]
    pub fn change_of(&self, what: &str) -> Option<Change> {
        let types = &self.diff.as_ref()?.types;
        types.iter().find(|changed| changed.what == what).map(|changed| changed.change)
    }

    /// For failure messages: a line a stack.
    #[must_use]
    pub fn overview(&self) -> String {
        let line = |stack: &Stack| {
            let names: Vec<&str> =
                stack.frames.iter().take(6).map(|frame| frame.function.as_deref().unwrap_or("?")).collect();
            let Sums { live_bytes, live_blocks, allocs, .. } = stack.sums;
            format!("{live_bytes} B in {live_blocks} of {allocs}: {}", names.join(" < "))
        };
        self.stacks.iter().take(40).map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Frame {
    /// `site`, `site(int)` of C++, `crate::site` of Rust.
    #[must_use]
    pub fn is(&self, site: &str) -> bool {
        let Some(function) = &self.function else { return false };
        let name = function.split('(').next().unwrap_or(function);
        name == site || name.rsplit("::").next() == Some(site)
    }
}

impl Verdict {
    #[must_use]
    pub fn is_leak(&self) -> bool {
        matches!(self.verdict.as_str(), "LEAK" | "LEAK PROVEN")
    }

    #[must_use]
    pub fn has(&self, site: &str) -> bool {
        self.frames.iter().any(|frame| frame.is(site))
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        let Self { live_bytes, live_blocks, allocs, alloc_bytes, frees, freed_bytes } = other;
        self.live_bytes += live_bytes;
        self.live_blocks += live_blocks;
        self.allocs += allocs;
        self.alloc_bytes += alloc_bytes;
        self.frees += frees;
        self.freed_bytes += freed_bytes;
    }
}

fn sum<'a>(stacks: impl Iterator<Item = &'a Stack>) -> Sums {
    stacks.fold(Sums::default(), |mut sums, stack| {
        sums += stack.sums;
        sums
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str) -> Frame {
        Frame {
            function: Some(function.into()),
            module: None,
            file: None,
            line: None,
            column: None,
            inlined: false,
            line_of_function: false,
        }
    }

    #[test]
    fn a_site_is_found_under_the_names_of_each_language() {
        for name in ["leak_box", "leak_box(unsigned long)", "leak::leak_box"] {
            assert!(frame(name).is("leak_box"), "{name}");
        }
        for name in ["leak_box2", "not_leak_box", "leak_box::inner"] {
            assert!(!frame(name).is("leak_box"), "{name}");
        }
    }

    #[test]
    fn a_report_is_read_and_summed_by_site() {
        let stack = |live: u64| {
            format!(
                r#"{{"rank":1,"stack":"0x1","pid":7,"kind":"heap","function":"malloc","live_bytes":{live},"live_blocks":1,"allocs":1,
                "alloc_bytes":{live},"frees":0,"freed_bytes":0,"oldest_age_ns":1,"median_age_ns":1,"complete":true,
                "stopped":"root","types":[],"generations":[],"frames":[0]}}"#
            )
        };
        let text = format!(
            r#"{{"schema":"leaktrace-report","version":2,"processes":[],"totals":{{"live_bytes":3,"live_blocks":2,"allocs":2,
            "alloc_bytes":3,"frees":0,"freed_bytes":0}},"frames":[{{"address":"0x1","function":"site","module":"m","offset":"0x1",
            "file":null,"line":null,"inlined":false}}],"stacks":[{},{}],"coverage":{{"events_seen":2,"lost":0,
            "counters":{{"FreeUnknown":4}},"stacks":2,"stacks_incomplete":0,"addresses":1,"addresses_unknown":0}}}}"#,
            stack(1),
            stack(2)
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        fs::write(&path, text).unwrap();
        let report = Report::read(&path).unwrap();
        assert_eq!(report.at("site").live_bytes, 3);
        assert_eq!(report.at_in("site", 8), Sums::default());
        assert_eq!(report.counter("FreeUnknown"), 4);
    }
}
