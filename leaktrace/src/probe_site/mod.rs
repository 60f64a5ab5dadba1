//! Which instructions of a function to probe.
//!
//! A uprobe replaces an instruction by a trap; what the kernel does with the instruction then decides the cost.
//! Some it emulates (0.6 to 0.95 µs a hit), the others it runs out of line, one at a time (15 µs in a virtual
//! machine). Compilers rarely put an emulated one first, so the site is looked for a few instructions on,
//! where the arguments and the stack still are as the caller left them. See [`x86`] for the rules.
//!
//! How a call ends is learned by the kernel's return probe, except in functions that may throw: the return
//! probe puts a trampoline in place of the return address, and the C++ unwinder, meeting it, ends the process.
//! There every `ret` gets a probe of its own.
//!
//! Only x86_64 is decoded. On other architectures the site is the entry, and a function that may throw has no
//! known returns.

mod x86;

use crate::binary::{Architecture, Binary, FileOffset, Function, LinkAddress};

/// An instruction to probe instead of the function's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    pub offset: FileOffset,
    /// Bytes from the function's entry.
    pub from_entry: u32,
    /// 8-byte words by which the stack pointer is lower than at the entry.
    pub pushed_words: u8,
    /// Whether the kernel emulates the instruction. If not, each hit is about 17 times dearer.
    pub emulated: bool,
    /// Position whose register has argument i here: code before the site may have copied it along.
    pub arguments: [u8; 6],
}

/// How the end of a call is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Not at all: the entry tells everything.
    NotNeeded,
    /// By the kernel's return probe, attached at the entry site.
    Uretprobe,
    /// By a probe at each `ret`, where the stack pointer is again that of the entry.
    AtRet {
        sites: Vec<FileOffset>,
        /// Some way out was not found (a tail call through a pointer): calls that end there are not seen to.
        incomplete: bool,
    },
}

/// What must still hold where a probe fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bit i: argument i is still in an argument register.
    pub arguments: u8,
    /// And in its own.
    pub in_place: bool,
    /// The stack pointer has not moved: the return probe takes the return address from where it points.
    pub unmoved_stack: bool,
    /// A call whose first argument of [`Need::arguments`] is null need not be seen.
    pub null_is_nothing: bool,
}

/// Where a function hands its call on, before it decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee<'data> {
    Here(LinkAddress),
    /// Whatever the loader binds to this name.
    Import(&'data str),
}

/// The best instruction at which `function` can be probed; none where the file holds no code for it.
#[must_use]
pub fn entry(binary: &Binary<'_>, function: &Function<'_>, need: Need) -> Option<Site> {
    let offset = binary.offset_of(function.address)?;
    let body = Body::of(binary, function)?;
    let found = match binary.architecture {
        Architecture::X86_64 => x86::entry_site(&body, need),
        _ => x86::AtEntry { from_entry: 0, pushed_words: 0, emulated: false, arguments: [0, 1, 2, 3, 4, 5] },
    };
    Some(Site {
        offset: FileOffset(offset.0 + u64::from(found.from_entry)),
        from_entry: found.from_entry,
        pushed_words: found.pushed_words,
        emulated: found.emulated,
        arguments: found.arguments,
    })
}

/// Every `ret` by which a call of `function` can end.
#[must_use]
pub fn at_ret(binary: &Binary<'_>, function: &Function<'_>) -> Returns {
    match binary.architecture {
        Architecture::X86_64 => {
            let (addresses, incomplete) = x86::returns(binary, function);
            let sites = addresses.into_iter().filter_map(|address| binary.offset_of(address)).collect();
            Returns::AtRet { sites, incomplete }
        }
        _ => Returns::AtRet { sites: Vec::new(), incomplete: true },
    }
}

/// The function that sees every call of `function`, if it only passes them on, whatever it does to the arguments
/// before. With `through_calls`, a plain call counts as well as a jump, and a null check may come first.
#[must_use]
pub fn forwards_to<'data>(
    binary: &Binary<'data>,
    function: &Function<'_>,
    through_calls: bool,
) -> Option<Callee<'data>> {
    match binary.architecture {
        Architecture::X86_64 => x86::forwards_to(binary, &Body::of(binary, function)?, through_calls),
        _ => None,
    }
}

/// The code of one function.
#[derive(Clone, Copy, Debug)]
struct Body<'data> {
    address: LinkAddress,
    bytes: &'data [u8],
}

/// A function whose symbol has no size, and no neighbour, is taken for no longer than this. Allocators' entry
/// points are a few hundred bytes.
const UNSIZED: u64 = 4096;

impl<'data> Body<'data> {
    fn of(binary: &Binary<'data>, function: &Function<'_>) -> Option<Self> {
        let code = binary.code(function.address)?;
        let size = match function.size {
            0 => {
                let next = binary.next_function(function.address).map(|next| next.0 - function.address.0);
                next.unwrap_or(UNSIZED).min(UNSIZED)
            }
            size => size,
        };
        let bytes = &code[..code.len().min(size as usize)];
        Some(Self { address: function.address, bytes })
    }

    fn contains(&self, address: LinkAddress) -> bool {
        address.0.checked_sub(self.address.0).is_some_and(|inside| inside < self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod on_this_machine;
