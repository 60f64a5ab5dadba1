//! Folded stacks of live bytes, a line each: `comm-pid;outermost;...;malloc BYTES`.
//!
//! The format has no escapes, so what separates (`;`, line ends) is replaced in names. Read by flamegraph.pl,
//! inferno, speedscope. <https://github.com/brendangregg/FlameGraph/blob/v1.0/stackcollapse.pl>

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{Exporter, Frame, Process, Report, Stack};

#[derive(Clone, Copy, Debug)]
pub struct Folded;

impl Exporter for Folded {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for stack in report.stacks.iter().filter(|stack| stack.totals.live_bytes > 0) {
            let process = report.processes.iter().find(|process| process.process == stack.process);
            *lines.entry(line(report, process, stack)).or_default() += stack.totals.live_bytes;
        }
        for (line, bytes) in lines {
            writeln!(out, "{line} {bytes}")?;
        }
        Ok(())
    }
}

fn line(report: &Report, process: Option<&Process>, stack: &Stack) -> String {
    let comm = process.map_or("", |process| process.comm.as_str());
    let mut parts = vec![clean(&format!("{}-{}", if comm.is_empty() { "process" } else { comm }, stack.pid))];
    if stack.frames.is_empty() {
        parts.push(format!("[{}]", stack.stopped));
    } else if !stack.complete {
        parts.push(format!("[stack ends early: {}]", stack.stopped));
    }
    parts.extend(report.frames_of(stack).rev().map(|frame| clean(&label(frame))));
    parts.push(clean(stack.function.as_deref().unwrap_or(&stack.kind)));
    parts.join(";")
}

fn label(frame: &Frame) -> String {
    let module = || frame.module.as_deref().map(file_name);
    match (&frame.function, module(), &frame.offset) {
        // Anonymous functions and methods of one name are many: the place tells them apart.
        (Some(function), None, _) if frame.file.is_some() => match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("{function} {file}:{line}"),
            (Some(file), None) => format!("{function} {file}"),
            (None, _) => function.clone(),
        },
        (Some(function), _, _) => function.clone(),
        (None, Some(module), Some(offset)) => format!("[{module}+{offset}]"),
        _ => format!("[{}]", frame.address),
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn clean(name: &str) -> String {
    name.chars()
        .map(|char| match char {
            ';' => ':',
            char if char.is_control() => ' ',
            char => char,
        })
        .collect()
}
