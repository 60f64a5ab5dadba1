//! speedscope's file: a sampled profile for each process, in bytes. What leaktrace adds is `kind` of a frame, which
//! readers pass over.
//!
//! <https://github.com/jlfwong/speedscope/blob/v1.25.0/src/lib/file-format-spec.ts>

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

use serde::Serialize;

use super::{
    frames::{Kind, file, name},
    metric::Metric,
    paths::{Path, paths},
};
use crate::report::{self, Exporter, Report};

#[derive(Clone, Copy, Debug, Default)]
pub struct Speedscope {
    pub metric: Metric,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Frame<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    col: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    /// Places in the shared frames, outermost first.
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

impl Exporter for Speedscope {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Self { metric } = *self;
        let mut frames = Frames::default();
        let known: Vec<usize> = report.frames.iter().map(|frame| frames.at(Frame::of(frame))).collect();
        let mut profiles: BTreeMap<u32, Profile> = BTreeMap::new();
        for path in paths(report, metric) {
            let profile = profiles
                .entry(path.stack.process)
                .or_insert_with(|| Profile::new(path.process_name(), metric));
            profile.samples.push(frames.sample(&path, &known));
            profile.weights.push(path.value);
            profile.end_value += path.value;
        }
        // Its reader wants one at least.
        if profiles.is_empty() {
            profiles.insert(0, Profile::new("nothing".to_owned(), metric));
        }
        let file = File {
            schema: "https://www.speedscope.app/file-format-schema.json",
            exporter: format!("leaktrace {}", report.leaktrace),
            name: format!("leaktrace: {}", metric.describe()),
            shared: Shared { frames: frames.all },
            profiles: profiles.into_values().collect(),
        };
        serde_json::to_writer(&mut *out, &file)?;
        writeln!(out)
    }
}

impl Profile {
    const fn new(name: String, metric: Metric) -> Self {
        let unit = if metric.is_bytes() { "bytes" } else { "none" };
        Self {
            kind: "sampled",
            name,
            unit,
            start_value: 0,
            end_value: 0,
            samples: Vec::new(),
            weights: Vec::new(),
        }
    }
}

impl<'a> Frame<'a> {
    fn of(frame: &'a report::Frame) -> Self {
        let report::Frame { line, column, .. } = *frame;
        let kind = Some(Kind::of(frame).describe());
        Self { name: name(frame).into_owned(), file: file(frame), line, col: column, kind }
    }

    /// What is no frame of the program: the allocator, or why a stack ends.
    const fn note(name: String) -> Self {
        Self { name, file: None, line: None, col: None, kind: None }
    }
}

/// Each once: those of one name and place are one to a reader.
#[derive(Default)]
struct Frames<'a> {
    all: Vec<Frame<'a>>,
    known: HashMap<Frame<'a>, usize>,
}

impl<'a> Frames<'a> {
    fn at(&mut self, frame: Frame<'a>) -> usize {
        let Self { all, known } = self;
        *known.entry(frame).or_insert_with_key(|frame| {
            all.push(frame.clone());
            all.len() - 1
        })
    }

    fn sample(&mut self, path: &Path<'_>, known: &[usize]) -> Vec<usize> {
        let mut sample: Vec<usize> = path.lack().map(|lack| self.at(Frame::note(lack))).into_iter().collect();
        sample.extend(path.stack.frames.iter().rev().filter_map(|at| known.get(*at)));
        sample.push(self.at(Frame::note(path.allocator().to_owned())));
        sample
    }
}
