//! What a frame is called, and what kind it is.

use std::borrow::Cow;

use crate::{report::Frame, symbolize::file_name};

/// Formats that have a place for it say it there; folded stacks have flamegraph.pl's suffixes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Native,
    Inlined,
    JavaScript,
    InlinedJavaScript,
    /// Code made at run time by something else than V8, with a name from its perf map.
    Jit,
    /// Nothing known but an address.
    Unknown,
}

impl Kind {
    pub(super) fn of(frame: &Frame) -> Self {
        match (frame.is_javascript(), frame.inlined) {
            (true, false) => Self::JavaScript,
            (true, true) => Self::InlinedJavaScript,
            (false, true) => Self::Inlined,
            (false, false) if frame.module.is_some() => Self::Native,
            (false, false) if frame.function.is_some() => Self::Jit,
            (false, false) => Self::Unknown,
        }
    }

    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Inlined => "inlined",
            Self::JavaScript => "javascript",
            Self::InlinedJavaScript => "inlined javascript",
            Self::Jit => "jit",
            Self::Unknown => "unknown",
        }
    }

    /// Inlined, and compiled at run time: what flamegraph.pl colours by, and does not show
    /// (<https://github.com/brendangregg/FlameGraph/blob/v1.0/flamegraph.pl>).
    const fn suffix(self) -> &'static str {
        match self {
            Self::Inlined | Self::InlinedJavaScript => "_[i]",
            Self::JavaScript | Self::Jit => "_[j]",
            Self::Native | Self::Unknown => "",
        }
    }
}

/// The function's name, else where it is.
pub(super) fn name(frame: &Frame) -> Cow<'_, str> {
    match (&frame.function, frame.module.as_deref(), &frame.offset) {
        (Some(function), ..) => Cow::Borrowed(function),
        (None, Some(module), Some(offset)) => Cow::Owned(format!("[{}+{offset}]", file_name(module))),
        _ => Cow::Owned(format!("[{}]", frame.address)),
    }
}

/// The same with what tells it apart from others of its name: anonymous functions and methods of one name are many, so
/// those of JavaScript have their place, as `function file:line:column`.
pub(super) fn title(frame: &Frame) -> String {
    let name = name(frame);
    match (&frame.file, frame.line, frame.column) {
        (Some(file), Some(line), Some(column)) if frame.is_javascript() => {
            format!("{name} {file}:{line}:{column}")
        }
        (Some(file), Some(line), None) if frame.is_javascript() => format!("{name} {file}:{line}"),
        (Some(file), ..) if frame.is_javascript() => format!("{name} {file}"),
        _ => name.into_owned(),
    }
}

/// For folded stacks, which have no escapes: what separates is replaced.
pub(super) fn folded(frame: &Frame) -> String {
    clean(&title(frame)) + Kind::of(frame).suffix()
}

/// The source file, else the file that the code is from.
pub(super) fn file(frame: &Frame) -> Option<&str> {
    frame.file.as_deref().or(frame.module.as_deref())
}

pub(super) fn clean(name: &str) -> String {
    name.chars()
        .map(|char| match char {
            ';' => ':',
            // Of these XML has none, not even escaped.
            '\u{fffe}' | '\u{ffff}' => ' ',
            char if char.is_control() => ' ',
            char => char,
        })
        .collect()
}
