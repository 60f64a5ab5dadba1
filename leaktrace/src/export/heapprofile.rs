//! V8's sampling heap profile, `.heapprofile`, which Chrome's DevTools open (Memory, Load profile): a tree of calls with
//! the bytes of each, processes at its root.
//!
//! The allocator's own function is left out, as V8 leaves out its own: what a function allocates is its own. Lines and
//! columns count from 0. What leaktrace adds is `kind` of a frame, which readers pass over.
//!
//! <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/include/js_protocol.pdl>, `SamplingHeapProfile`

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde::{Serialize, Serializer};

use super::{
    frames::{Kind, file, name},
    metric::Metric,
    paths::paths,
};
use crate::report::{Exporter, Frame, Report};

#[derive(Clone, Copy, Debug, Default)]
pub struct HeapProfile {
    pub metric: Metric,
}

#[derive(Serialize)]
struct File<'a> {
    head: Written<'a>,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    size: u64,
    node_id: usize,
    ordinal: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallFrame<'a> {
    function_name: String,
    /// One for each file; without one, `0`, DevTools show no file.
    script_id: String,
    url: &'a str,
    line_number: i64,
    column_number: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

/// All nodes, the root first; a node's id is one more than its place.
struct Tree<'a> {
    frames: Vec<CallFrame<'a>>,
    nodes: Vec<Node>,
    known: HashMap<(usize, usize), usize>,
}

struct Node {
    /// Place in the frames.
    frame: usize,
    own: u64,
    children: Vec<usize>,
}

impl Exporter for HeapProfile {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut tree = Tree::new(report);
        let mut noted: HashMap<String, usize> = HashMap::new();
        let mut samples = Vec::new();
        for path in paths(report, self.metric) {
            let notes = std::iter::once(path.process_name()).chain(path.lack());
            let notes: Vec<usize> = notes.map(|note| tree.note(note, &mut noted)).collect();
            let frames = path.stack.frames.iter().rev().copied();
            let node = notes.into_iter().chain(frames).fold(0, |node, frame| tree.child(node, frame));
            tree.nodes[node].own += path.value;
            samples.push(Sample { size: path.value, node_id: node + 1, ordinal: samples.len() as u64 + 1 });
        }
        serde_json::to_writer(&mut *out, &File { head: Written { tree: &tree, at: 0 }, samples })?;
        writeln!(out)
    }
}

impl<'a> Tree<'a> {
    fn new(report: &'a Report) -> Self {
        let mut scripts = HashMap::new();
        let mut frames: Vec<CallFrame<'a>> =
            report.frames.iter().map(|frame| CallFrame::of(frame, &mut scripts)).collect();
        let root = Node { frame: frames.len(), own: 0, children: Vec::new() };
        frames.push(CallFrame::note("(root)".to_owned()));
        Self { frames, nodes: vec![root], known: HashMap::new() }
    }

    /// The frame of a process, or of why a stack ends.
    fn note(&mut self, name: String, known: &mut HashMap<String, usize>) -> usize {
        if let Some(at) = known.get(&name) {
            return *at;
        }
        self.frames.push(CallFrame::note(name.clone()));
        known.insert(name, self.frames.len() - 1);
        self.frames.len() - 1
    }

    fn child(&mut self, parent: usize, frame: usize) -> usize {
        let Self { nodes, known, .. } = self;
        *known.entry((parent, frame)).or_insert_with(|| {
            let child = nodes.len();
            nodes.push(Node { frame, own: 0, children: Vec::new() });
            nodes[parent].children.push(child);
            child
        })
    }
}

impl<'a> CallFrame<'a> {
    fn of(frame: &'a Frame, scripts: &mut HashMap<&'a str, usize>) -> Self {
        // From 0, and -1 for none, as V8 has them.
        let from_0 = |number: Option<u32>| number.map_or(-1, |number| i64::from(number) - 1);
        let url = file(frame).unwrap_or_default();
        let next = scripts.len() + 1;
        let script = if url.is_empty() { 0 } else { *scripts.entry(url).or_insert(next) };
        Self {
            function_name: name(frame).into_owned(),
            script_id: script.to_string(),
            url,
            line_number: from_0(frame.line),
            column_number: from_0(frame.column),
            kind: Some(Kind::of(frame).describe()),
        }
    }

    fn note(name: String) -> Self {
        Self {
            function_name: name,
            script_id: "0".to_owned(),
            url: "",
            line_number: -1,
            column_number: -1,
            kind: None,
        }
    }
}

/// A node with all below it.
struct Written<'a> {
    tree: &'a Tree<'a>,
    at: usize,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape<'a> {
            call_frame: &'a CallFrame<'a>,
            self_size: u64,
            id: usize,
            children: Vec<Written<'a>>,
        }
        let Self { tree, at } = *self;
        let Node { frame, own, children } = &tree.nodes[at];
        // As deep as a stack, of which the kernel side keeps a few hundred frames at most.
        let children = children.iter().map(|at| Written { tree, at: *at }).collect();
        Shape { call_frame: &tree.frames[*frame], self_size: *own, id: at + 1, children }
            .serialize(serializer)
    }
}
