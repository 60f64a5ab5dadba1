//! Source maps: from places in JavaScript that a tool made (bundled, minified, compiled from TypeScript) to the author's.
//!
//! A file made so says in its last line where its map is, or has it beside it. Maps are as in
//! [ECMA-426](https://tc39.es/ecma426/2024/), whose lines and columns count from 0; ours count from 1, and columns in UTF-16 units
//! in both.
//!
//! From bytes to places is pure; [`files`] opens what a process has, and [`SourceMaps`] keeps it.
//!
//! Limits: a map that is not a file of the process or within the script's own (at an HTTP address; of code that was compiled in
//! memory, as by ts-node) is not read. Names are of functions whose definition the map has a name for, which is looked up where
//! the definition stands in the file; all others keep V8's.

mod comment;
mod decode;
mod definition;
mod files;
mod loss;
mod paths;
mod text;

#[cfg(test)]
mod tests;

pub use self::files::{ProcessFiles, SourceMaps};
use self::{decode::Mappings, text::Text};
use crate::{runtime::v8::JsFrame, symbolize::file_name};

/// What V8 has no name for is called so by [`crate::runtime::v8`], with its place behind it.
const ANONYMOUS: &str = "(anonymous) ";

/// A place in the author's sources, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Original<'a> {
    file: &'a str,
    line: u32,
    column: u32,
}

/// A file and its map.
#[derive(Debug)]
struct Mapped {
    text: Text,
    mappings: Mappings,
}

impl Mapped {
    /// Puts the author's place and name into a frame of this file, as far as the map has them.
    fn translate(&self, frame: &mut JsFrame) {
        if let Some(function) = self.function(&frame.function, frame.start) {
            frame.function = function;
        }
        let place = frame.line.zip(frame.column).and_then(|place| self.mappings.original(place));
        if let Some(Original { file, line, column }) = place {
            file.clone_into(&mut frame.file);
            (frame.line, frame.column) = (Some(line), Some(column));
        }
    }

    /// None where the function keeps the name that V8 has for it.
    fn function(&self, name: &str, start: Option<(u32, u32)>) -> Option<String> {
        let start = start?;
        if name.starts_with(ANONYMOUS) {
            let Original { file, line, column } = self.mappings.original(start)?;
            return Some(format!("{ANONYMOUS}{}:{line}:{column}", file_name(file)));
        }
        // V8 calls what is assigned to a property `object.property`; the property is the definition's name.
        let (of, own) = name.rsplit_once('.').map_or(("", name), |(of, own)| (of, own));
        let place = definition::name(&self.text, start, own)?;
        let original = self.mappings.name_at(place)?;
        Some(if of.is_empty() { original.to_owned() } else { format!("{of}.{original}") })
    }
}
