//! Which functions of a file to probe, and where: the one entry is [`hooks_of`].
//!
//! [`families`] has the allocators as tables. A file counts as an allocator only if it defines both a function
//! that allocates and one that frees; else a program's private `xmalloc` would fill the books with blocks that
//! nobody is ever seen to free.
//!
//! Left out on purpose: functions that only pass their call on to a hooked one (counting twice would be worse
//! for `free` than not at all), IFUNCs (their code is not the function's), and C++ operators outside the
//! allocator's own file (libstdc++'s call malloc). Not seen at all: heaps dropped as a whole
//! (mi_heap_destroy, arena resets) and in-place growth (xallocx).

mod choose;
pub mod families;

use leaktrace_common::hook::{Cookie, Shape};
use thiserror::Error;

pub use self::choose::{has_candidates, hooks_of};
use crate::probe_site::{Returns, Site};

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// mmap, munmap and mremap too.
    pub mappings: bool,
    /// Prefixes of an allocator of the user's own: `my_` for my_malloc, my_free.
    pub prefixes: Vec<String>,
}

/// A function to probe, with all that attaching needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHook {
    /// Its best known name, for the report.
    pub symbol: String,
    pub family: &'static str,
    pub shape: Shape,
    /// Positions of the registers that have the arguments at the entry site, not always the function's own.
    pub size_arg: u8,
    pub count_arg: u8,
    pub pointer_arg: u8,
    /// May leave by a C++ exception, so that a return probe would end the process.
    pub throws: bool,
    pub entry: Site,
    pub returns: Returns,
}

impl FoundHook {
    /// The cookie of all its probes; `hook` is its number in the caller's list.
    #[must_use]
    pub fn cookie(&self, hook: u16) -> Cookie {
        Cookie {
            shape: self.shape as u8,
            size_arg: self.size_arg,
            count_arg: self.count_arg,
            pointer_arg: self.pointer_arg,
            hook,
            pushed_words: self.entry.pushed_words,
            at_ret: u8::from(matches!(self.returns, Returns::AtRet { .. })),
        }
    }
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub found: Vec<FoundHook>,
    /// What has a known name and gets no probe.
    pub skipped: Vec<Skipped>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub symbol: String,
    pub why: Skip,
}

/// Why a function with a known name gets no probe.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Skip {
    /// Nothing is lost: that one is probed, or passes them on itself.
    #[error("it passes its calls on to {to}")]
    PassedOn { to: String },
    /// What is allocated by it is not seen.
    #[error("it is an IFUNC, whose code is chosen when the program starts")]
    Indirect,
    /// What is allocated by it is not seen.
    #[error("it may throw and no return of it was found to probe")]
    NoReturns,
}

impl Skip {
    /// Whether memory may go unseen because of it, so that the user must be told.
    #[must_use]
    pub fn loses(&self) -> bool {
        !matches!(self, Self::PassedOn { .. })
    }
}

/// Why a file has no allocator: a finding, not a failure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoAllocator {
    #[error(
        "it has no symbols, so its functions cannot be found; install its debug package, or build it without `strip`"
    )]
    NoSymbols,
    #[error("it defines no allocator that is known; name your own with --prefix")]
    NoneDefined,
    #[error(
        "it defines {symbol} but nothing that frees, so every block would look leaked; name its functions with --prefix"
    )]
    NothingFrees { symbol: String },
    #[error("it defines {symbol} but nothing that allocates")]
    NothingAllocates { symbol: String },
    #[error(
        "its {symbol} is an IFUNC, whose code is chosen when the program starts, so there is no one place to probe"
    )]
    OnlyIndirect { symbol: String },
    #[error(
        "native memory is left out by --only javascript, and it has no JavaScript engine that leaktrace can read"
    )]
    NotWanted,
    #[error(
        "so many different allocators were seen since leaktrace began that their functions' numbers have run out; start it again"
    )]
    TooMany,
}
