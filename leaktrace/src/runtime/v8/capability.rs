//! What can be told of one V8, and why the rest cannot.

use std::fmt;

use leaktrace_common::v8::can;

/// Each stands by itself: what one lacks leaves the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// When it collects, and how much that frees.
    Collections,
    /// Which JavaScript functions are on a stack, as numbers.
    Frames,
    /// Their names and lines.
    Names,
    /// Samples of what is allocated.
    Samples,
    /// Whether an object outlived a collection of the young ones.
    YoungSurvival,
    /// Whether it outlived a whole collection.
    OldSurvival,
    /// When an isolate ends, and its heap with it.
    Ends,
    /// Of which type an object is, and who constructed it.
    Types,
    /// Names of functions of WebAssembly.
    WebAssembly,
}

/// A capability that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub capability: Capability,
    pub reason: String,
}

/// What is lost with bits of [`can`] that the running process has shown to rest on wrong places
/// ([`leaktrace_common::v8::Check`]).
pub fn not_as_derived(given_up: u32) -> impl Iterator<Item = Lack> {
    const OF: [(u32, Capability, &str); 4] = [
        (
            can::SAMPLES,
            Capability::Samples,
            "in the running process an allocator does not lead to an allocation area",
        ),
        (
            can::YOUNG,
            Capability::YoungSurvival,
            "in the running process pages do not say which objects are young",
        ),
        (
            can::OLD,
            Capability::OldSurvival,
            "in the running process live objects are not marked where marks should be",
        ),
        (can::TYPES, Capability::Types, "in the running process sampled objects do not begin with a map"),
    ];
    // Without pages marks are of no use: that is one reason, not two.
    let given_up = if given_up & can::YOUNG != 0 { given_up & !can::OLD } else { given_up };
    OF.into_iter()
        .filter(move |(bit, ..)| given_up & bit != 0)
        .map(|(_, capability, reason)| Lack { capability, reason: reason.to_owned() })
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Collections => "garbage collections",
            Self::Frames => "JavaScript frames",
            Self::Names => "names of JavaScript functions",
            Self::Samples => "samples of the JavaScript heap",
            Self::YoungSurvival => "survival of young objects",
            Self::OldSurvival => "survival of old objects",
            Self::Ends => "ends of isolates",
            Self::Types => "types of JavaScript objects",
            Self::WebAssembly => "names of WebAssembly functions",
        })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: {}", self.capability, self.reason)
    }
}
