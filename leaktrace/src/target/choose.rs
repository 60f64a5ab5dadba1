//! From the tables and a file's symbols to the hooks.

use std::collections::{BTreeMap, HashMap};

use leaktrace_common::hook::Shape;

use super::{
    FoundHook, Hooks, NoAllocator, Skip, Skipped, Wanted,
    families::{Belongs, FAMILIES, Family, Hook, LIBC},
};
use crate::{
    binary::{Binary, Function, LinkAddress},
    probe_site::{self, Callee, Need, Returns},
};

/// Thunks that lead to thunks: `operator delete[](p, n)` -> `operator delete[](p)` -> `operator delete(p)` ->
/// `free` makes three.
const THUNKS: usize = 4;

/// A function of the file with a known name.
#[derive(Clone, Copy)]
struct Candidate<'data> {
    /// Place of the name in the tables: lower is the better known name.
    rank: usize,
    family: &'static Family,
    hook: Hook,
    function: Function<'data>,
}

/// Whether a file has functions that may be probed, whose code [`hooks_of`] has to see.
#[must_use]
pub fn has_candidates(binary: &Binary<'_>, wanted: &Wanted) -> bool {
    !candidates(binary, wanted).0.is_empty()
}

/// Everything in a file that is to be probed for what is `wanted`.
///
/// # Errors
/// The file has nothing to probe, for a reason that is worth showing when no other file has either.
pub fn hooks_of(binary: &Binary<'_>, wanted: &Wanted) -> Result<Hooks, NoAllocator> {
    let (candidates, indirect) = candidates(binary, wanted);
    let (mappings, heap): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.family.belongs == Belongs::Mappings);
    let verdict = is_allocator(binary, &heap, &indirect);
    let mut chosen = if verdict.is_ok() { heap } else { Vec::new() };
    let maps = |shape| mappings.iter().any(|candidate| candidate.hook.shape == shape);
    if maps(Shape::Map) && maps(Shape::Unmap) {
        chosen.extend(&mappings);
    } else {
        verdict?;
    }
    let chosen = one_per_address(chosen);
    let mut hooks = Hooks { found: Vec::new(), skipped: indirect };
    for candidate in chosen.by_address.values() {
        match hook(binary, candidate, &chosen) {
            Ok(hook) => hooks.found.extend(hook),
            Err(why) => hooks.skipped.push(Skipped { symbol: candidate.function.name.to_owned(), why }),
        }
    }
    Ok(hooks)
}

/// Functions with known names, and those of them that are IFUNCs.
fn candidates<'data>(binary: &Binary<'data>, wanted: &Wanted) -> (Vec<Candidate<'data>>, Vec<Skipped>) {
    let names = names(wanted);
    // glibc's loader has a private malloc for its own start, which nothing else calls.
    let is_loader = binary.soname.is_some_and(|name| name.starts_with("ld-linux"));
    let known = || {
        binary.functions().iter().filter(|function| function.exported || !is_loader).filter_map(|function| {
            let (rank, family, hook) = *names.get(function.name)?;
            Some(Candidate { rank, family, hook, function: *function })
        })
    };
    let has_malloc = known().any(|candidate| candidate.function.name == "malloc");
    let (indirect, direct): (Vec<_>, Vec<_>) = known()
        .filter(|candidate| candidate.family.belongs != Belongs::BesideMalloc || has_malloc)
        .partition(|candidate| candidate.function.indirect);
    let skipped = |candidate: Candidate<'_>| Skipped {
        symbol: candidate.function.name.to_owned(),
        why: Skip::Indirect,
    };
    (direct, indirect.into_iter().map(skipped).collect())
}

/// Every symbol to look for.
fn names(wanted: &Wanted) -> HashMap<String, (usize, &'static Family, Hook)> {
    let mut names = HashMap::new();
    let families = FAMILIES.iter().filter(|family| family.belongs != Belongs::Mappings || wanted.mappings);
    for family in families {
        let custom = wanted.prefixes.iter().map(String::as_str).filter(|_| family.takes_custom_prefix);
        for prefix in family.prefixes.iter().copied().chain(custom) {
            for hook in family.hooks {
                let rank = names.len();
                names.entry(format!("{prefix}{}", hook.symbol)).or_insert((rank, family, *hook));
            }
        }
    }
    names
}

fn is_allocator(
    binary: &Binary<'_>,
    heap: &[Candidate<'_>],
    indirect: &[Skipped],
) -> Result<(), NoAllocator> {
    let best = |frees: bool| {
        let fits = |candidate: &&Candidate<'_>| (candidate.hook.shape == Shape::Free) == frees;
        let best = heap.iter().filter(fits).min_by_key(|candidate| candidate.rank);
        best.map(|candidate| candidate.function.name.to_owned())
    };
    match (best(false), best(true)) {
        (Some(_), Some(_)) => Ok(()),
        (Some(symbol), None) => Err(NoAllocator::NothingFrees { symbol }),
        (None, Some(symbol)) => Err(NoAllocator::NothingAllocates { symbol }),
        (None, None) => Err(match indirect.first() {
            Some(skipped) => NoAllocator::OnlyIndirect { symbol: skipped.symbol.clone() },
            None if binary.functions().is_empty() => NoAllocator::NoSymbols,
            None => NoAllocator::NoneDefined,
        }),
    }
}

/// Candidates without aliases: two probes on one instruction would count each call twice.
struct Chosen<'data> {
    by_address: BTreeMap<LinkAddress, Candidate<'data>>,
    /// Of every alias too.
    address_of: HashMap<&'data str, LinkAddress>,
}

fn one_per_address(mut candidates: Vec<Candidate<'_>>) -> Chosen<'_> {
    candidates.sort_by_key(|candidate| candidate.rank);
    let mut chosen = Chosen { by_address: BTreeMap::new(), address_of: HashMap::new() };
    for candidate in candidates {
        let address = candidate.function.address;
        chosen.address_of.entry(candidate.function.name).or_insert(address);
        let kept = chosen.by_address.entry(address).or_insert(candidate);
        // Whatever it is called by, an exception may pass through it.
        kept.hook.throws |= candidate.hook.throws;
        kept.function.size = kept.function.size.max(candidate.function.size);
    }
    chosen
}

/// The probes of a candidate; none where the file has no code for it.
fn hook(binary: &Binary<'_>, candidate: &Candidate<'_>, all: &Chosen<'_>) -> Result<Option<FoundHook>, Skip> {
    let Candidate { function, hook, family, .. } = candidate;
    if let Some(to) = passed_on(binary, candidate, all) {
        return Err(Skip::PassedOn { to });
    }
    let returns = match (hook.shape.needs_return(), hook.throws) {
        (false, _) => Returns::NotNeeded,
        (true, false) => Returns::Uretprobe,
        (true, true) => probe_site::at_ret(binary, function),
    };
    if matches!(&returns, Returns::AtRet { sites, .. } if sites.is_empty()) {
        return Err(Skip::NoReturns);
    }
    let need = Need {
        arguments: hook.arguments(),
        in_place: matches!(hook.shape, Shape::Map | Shape::Unmap | Shape::Remap),
        unmoved_stack: returns == Returns::Uretprobe,
        null_is_nothing: hook.shape == Shape::Free,
    };
    Ok(probe_site::entry(binary, function, need).map(|entry| FoundHook {
        symbol: function.name.to_owned(),
        family: family.name,
        shape: hook.shape,
        size_arg: entry.arguments[usize::from(hook.size_arg)],
        count_arg: entry.arguments[usize::from(hook.count_arg)],
        pointer_arg: entry.arguments[usize::from(hook.pointer_arg)],
        throws: hook.throws,
        entry,
        returns,
    }))
}

/// The name of the hooked function that sees every call of this one, if there is one.
///
/// For what frees or throws, a plain call to it is as good as a jump. For the rest only a jump is, which leaves
/// the caller's stack as it was; a nested call is counted once anyway.
fn passed_on(binary: &Binary<'_>, candidate: &Candidate<'_>, all: &Chosen<'_>) -> Option<String> {
    let purpose = purpose(candidate.hook.shape);
    let through_calls = purpose == Shape::Free || candidate.hook.throws;
    let mut function = candidate.function;
    for _ in 0..THUNKS {
        let address = match probe_site::forwards_to(binary, &function, through_calls)? {
            Callee::Here(address) => address,
            Callee::Import(name) => match all.address_of.get(name) {
                Some(address) => *address,
                None => return is_libcs(name, purpose).then(|| name.to_owned()),
            },
        };
        if let Some(other) = all.by_address.get(&address) {
            let is_another = address != candidate.function.address;
            let sees_it = is_another && self::purpose(other.hook.shape) == purpose;
            return sees_it.then(|| other.function.name.to_owned());
        }
        function = Function { name: "", address, size: 0, ..function };
    }
    None
}

/// Whether C's own function of this name, which is probed wherever it is defined, does the same.
fn is_libcs(name: &str, wanted: Shape) -> bool {
    LIBC.hooks.iter().any(|hook| hook.symbol == name && purpose(hook.shape) == wanted)
}

/// The shape, however the size is told.
fn purpose(shape: Shape) -> Shape {
    match shape {
        Shape::AllocArray => Shape::Alloc,
        Shape::ReallocArray => Shape::Realloc,
        other => other,
    }
}

#[cfg(test)]
mod tests;
