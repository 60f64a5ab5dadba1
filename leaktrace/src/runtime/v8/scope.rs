//! What a `ScopeInfo` tells of its function: its name, what V8 infers where it has none, where it begins.
//!
//! Of a variable number of words, in the order of
//! <https://github.com/nodejs/node/blob/v22.12.0/deps/v8/src/objects/scope-info.tq>. Its flags say which parts are there,
//! but their bits move from version to version; so the parts after the local variables are told by what they look
//! like: name (a string or 0), slot (a small integer), inferred name (a string or undefined), start and end.

use super::{
    NotRead,
    object::{Heap, Tagged, smi},
    string,
};
use crate::process::ReadUser;

/// From this number on, names of local variables are in a table of their own (`kScopeInfoMaxInlinedLocalNamesSize`).
const MAX_INLINE_LOCALS: u32 = 75;

/// More variables than that in one scope's context are no program's.
const MAX_LOCALS: u32 = 1 << 16;

/// Characters of a function's name that are shown.
pub(super) const MAX_NAME: u32 = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// Empty for anonymous functions.
    pub(super) name: String,
    /// What it is assigned to, or such.
    pub(super) inferred: String,
    /// Position in its script.
    pub(super) start: Option<u32>,
}

pub(super) fn read<M: ReadUser>(heap: Heap<'_, M>, scope: Tagged) -> Result<Scope, NotRead> {
    let layout = heap.layout.scope;
    // Indices count the words behind the map.
    let word = |index: u32| heap.word(scope.field(8 + index * 8)).ok_or(NotRead::Unreadable);
    let locals = smi(word(layout.local_count)?).and_then(|count| u32::try_from(count).ok());
    let locals = locals.filter(|count| *count <= MAX_LOCALS).ok_or(NotRead::Malformed)?;
    // Each has a name and a word of properties.
    let names = if locals < MAX_INLINE_LOCALS { locals } else { 1 };
    let behind = layout.first_local + names + locals;
    let words: [u64; 5] = heap.words(scope.field(8 + behind * 8)).ok_or(NotRead::Unreadable)?;

    let text = |word| match Tagged::of(word) {
        Some(string) if heap.is_string(string) => string::text(heap, string, MAX_NAME),
        _ => Ok(String::new()),
    };
    let has_name =
        is_string_or_zero(heap, words[0]) && smi(words[1]).is_some() && Tagged::of(words[2]).is_some();
    let positions = |at: usize| {
        let (start, end) = (smi(words[at])?, smi(words[at + 1])?);
        (start < end).then(|| u32::try_from(start).ok())?
    };
    // A start of 0 and an end look like a name and its slot; behind them is an outer scope or nothing, and no
    // positions.
    let has_name = has_name && (layout.fixed_positions || words[0] != 0 || positions(3).is_some());
    let start = if layout.fixed_positions {
        smi(word(layout.first_local - 2)?).and_then(|start| u32::try_from(start).ok())
    } else if has_name {
        positions(3)
    } else {
        positions(0).or_else(|| positions(1)).or_else(|| positions(2))
    };
    let (name, inferred) = if has_name { (text(words[0])?, text(words[2])?) } else { Default::default() };
    Ok(Scope { name, inferred, start })
}

fn is_string_or_zero<M: ReadUser>(heap: Heap<'_, M>, word: u64) -> bool {
    word == 0 || Tagged::of(word).is_some_and(|string| heap.is_string(string))
}
