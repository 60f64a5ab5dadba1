//! A map's bytes as a table of places. The only user of the crate `sourcemap`, whose own tables hold the sources' text as well.

use std::panic::{AssertUnwindSafe, catch_unwind};

use data_encoding::BASE64_NOPAD;
use sourcemap::{DecodedMap, SourceMap};

use super::{Original, paths};

/// Entries of a map. Each takes 24 bytes here and more while it is decoded; a bundle of 50 MB has some 10 million.
const MAX_ENTRIES: usize = 1 << 24;

const NONE: u32 = u32::MAX;

/// By place in the file that was made.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    entries: Vec<Entry>,
    /// As they are shown; none where the map has no name for it.
    sources: Vec<Option<Box<str>>>,
    names: Vec<Box<str>>,
}

/// Lines and columns from 0, as in the map.
#[derive(Clone, Copy, Debug)]
struct Entry {
    line: u32,
    column: u32,
    source: u32,
    original_line: u32,
    original_column: u32,
    name: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    TooMany,
    Broken,
}

impl Mappings {
    /// Of a map that is at this absolute path, or within the file there.
    pub(super) fn of_bytes(map: &[u8], path: &str) -> Result<Self, Undecodable> {
        // Some of these are in the sources' text; a map that has so many without it would fill memory.
        if map.iter().filter(|byte| matches!(byte, b',' | b';')).count() > MAX_ENTRIES {
            return Err(Undecodable::TooMany);
        }
        // The crate reckons with the map's own numbers; in a build that checks them, those of a broken map would end the trace.
        let decoded = catch_unwind(AssertUnwindSafe(|| sourcemap::decode_slice(map)));
        let decoded = decoded.ok().and_then(Result::ok).ok_or(Undecodable::Broken)?;
        let mut mappings = Self::default();
        mappings.add(&decoded, path, (0, 0));
        mappings.entries.sort_by_key(|entry| (entry.line, entry.column));
        Ok(mappings)
    }

    /// Of a `data:` address in the file at `path`.
    pub(super) fn of_data(address: &str, path: &str) -> Result<Self, Undecodable> {
        let (kind, data) = address.split_once(',').ok_or(Undecodable::Broken)?;
        let data = paths::decoded(data);
        if !kind.ends_with(";base64") {
            return Self::of_bytes(data.as_bytes(), path);
        }
        let unpadded = data.trim_end_matches('=').as_bytes();
        let map = BASE64_NOPAD.decode(unpadded).map_err(|_| Undecodable::Broken)?;
        Self::of_bytes(&map, path)
    }

    /// `from` is where in the file the map begins.
    fn add(&mut self, map: &DecodedMap, path: &str, from: (u32, u32)) {
        match map {
            DecodedMap::Regular(map) => self.add_regular(map, path, from),
            DecodedMap::Hermes(map) => self.add_regular(map, path, from),
            DecodedMap::Index(index) => {
                for section in index.sections() {
                    let (line, column) = moved(section.get_offset(), from);
                    // What is before a section's first entry is not of the section before it.
                    let (source, original_line, original_column, name) = (NONE, 0, 0, NONE);
                    self.entries.push(Entry { line, column, source, original_line, original_column, name });
                    if let Some(map) = section.get_sourcemap() {
                        self.add(map, path, (line, column));
                    }
                }
            }
        }
    }

    fn add_regular(&mut self, map: &SourceMap, path: &str, from: (u32, u32)) {
        let (sources, names) = (self.sources.len() as u32, self.names.len() as u32);
        let root = map.get_source_root().filter(|root| !root.is_empty());
        let shown = |source: &str| {
            // The crate has put it before sources that have a scheme as well.
            let own = root.and_then(|root| source.strip_prefix(root.strip_suffix('/').unwrap_or(root)));
            let own = own.and_then(|own| own.strip_prefix('/')).unwrap_or(source);
            paths::shown(own, root, path).map(Into::into)
        };
        self.sources.extend(map.sources().map(shown));
        self.names.extend(map.names().map(Into::into));
        self.entries.extend(map.tokens().map(|token| {
            let (line, column) = moved(token.get_dst(), from);
            let token = token.get_raw_token();
            let behind = |id: u32, first: u32| if id == NONE { NONE } else { id.saturating_add(first) };
            Entry {
                line,
                column,
                source: behind(token.src_id, sources),
                original_line: token.src_line,
                original_column: token.src_col,
                name: behind(token.name_id, names),
            }
        }));
    }

    /// The author's place of one in the file, both from 1.
    pub(super) fn original(&self, (line, column): (u32, u32)) -> Option<Original<'_>> {
        let place = (line.checked_sub(1)?, column.checked_sub(1)?);
        let behind = self.entries.partition_point(|entry| (entry.line, entry.column) <= place);
        // What a line's last entry says ends with the line.
        let entry = self.entries[..behind].last().filter(|entry| entry.line == place.0)?;
        Some(Original {
            file: self.sources.get(entry.source as usize)?.as_deref()?,
            line: entry.original_line.checked_add(1)?,
            column: entry.original_column.checked_add(1)?,
        })
    }

    /// The name that the map has for what stands just there.
    pub(super) fn name_at(&self, (line, column): (u32, u32)) -> Option<&str> {
        let place = (line.checked_sub(1)?, column.checked_sub(1)?);
        let first = self.entries.partition_point(|entry| (entry.line, entry.column) < place);
        let at = self.entries[first..].iter().take_while(|entry| (entry.line, entry.column) == place);
        at.filter_map(|entry| self.names.get(entry.name as usize)).next().map(|name| &**name)
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        let sources: usize = self.sources.iter().flatten().map(|source| source.len()).sum();
        size_of_val(&*self.entries) + names + sources
    }
}

/// A place in a section, as one in the whole.
fn moved((line, column): (u32, u32), from: (u32, u32)) -> (u32, u32) {
    let column = if line == 0 { column.saturating_add(from.1) } else { column };
    (line.saturating_add(from.0), column)
}
