//! The allocators that are known, as tables. A new one is a new table, or a prefix of an old one.
//!
//! Order matters: of several names for one function the first is kept for the report.

use leaktrace_common::hook::Shape;

/// Functions that belong together.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    /// Each symbol is looked for behind each of these.
    pub prefixes: &'static [&'static str],
    /// Whether `--prefix` is tried with these symbols too.
    pub takes_custom_prefix: bool,
    pub belongs: Belongs,
    pub hooks: &'static [Hook],
}

/// In which files a family is hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// In each that defines it.
    Anywhere,
    /// Only in one that defines `malloc` itself: elsewhere these functions call malloc.
    BesideMalloc,
    /// Only where mappings were asked for.
    Mappings,
}

/// A function by its name: what it does, and at which position (from 0) which argument stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    pub symbol: &'static str,
    pub shape: Shape,
    pub size_arg: u8,
    pub count_arg: u8,
    pub pointer_arg: u8,
    pub throws: bool,
}

pub const FAMILIES: &[Family] = &[LIBC, JEMALLOC, MIMALLOC, TCMALLOC, OPERATORS, MAPPINGS];

/// C's own names. Prefixes: jemalloc (`je_`; `_rjem_` in Rust), gperftools, mimalloc, rpmalloc, dlmalloc, and what
/// glibc and musl call their own, which is all that a static program may have of them.
pub(super) const LIBC: Family = Family {
    name: "malloc",
    prefixes: &["", "je_", "_rjem_", "tc_", "mi_", "rp", "dl", "__libc_"],
    takes_custom_prefix: true,
    belongs: Belongs::Anywhere,
    hooks: &[
        alloc("malloc", 0),
        array("calloc", 0, 1),
        realloc("realloc", 0, 1),
        realloc_array("reallocarray", 0, 1, 2),
        free("free", 0),
        free("cfree", 0),
        // C23
        free("free_sized", 0),
        free("free_aligned_sized", 0),
        Hook { pointer_arg: 0, ..shape("posix_memalign", Shape::AllocOut, 2) },
        alloc("aligned_alloc", 1),
        alloc("memalign", 1),
        alloc("valloc", 0),
        alloc("pvalloc", 0),
    ],
};

/// <https://jemalloc.net/jemalloc.3.html>, the non-standard interface.
const JEMALLOC: Family = Family {
    name: "jemalloc",
    prefixes: &["", "je_", "_rjem_"],
    takes_custom_prefix: true,
    belongs: Belongs::Anywhere,
    hooks: &[alloc("mallocx", 0), realloc("rallocx", 0, 1), free("dallocx", 0), free("sdallocx", 0)],
};

/// <https://microsoft.github.io/mimalloc/>, beyond the names in [`LIBC`]. A `heap` is the first argument.
const MIMALLOC: Family = Family {
    name: "mimalloc",
    prefixes: &["mi_"],
    takes_custom_prefix: false,
    belongs: Belongs::Anywhere,
    hooks: &[
        alloc("malloc_small", 0),
        alloc("zalloc", 0),
        alloc("zalloc_small", 0),
        array("mallocn", 0, 1),
        realloc_array("reallocn", 0, 1, 2),
        // Frees the old block on failure too, which the books then still have.
        realloc("reallocf", 0, 1),
        realloc("rezalloc", 0, 1),
        realloc_array("recalloc", 0, 1, 2),
        alloc("malloc_aligned", 0),
        alloc("malloc_aligned_at", 0),
        alloc("zalloc_aligned", 0),
        alloc("zalloc_aligned_at", 0),
        array("calloc_aligned", 0, 1),
        array("calloc_aligned_at", 0, 1),
        realloc("realloc_aligned", 0, 1),
        realloc("realloc_aligned_at", 0, 1),
        realloc("rezalloc_aligned", 0, 1),
        realloc("rezalloc_aligned_at", 0, 1),
        realloc_array("recalloc_aligned", 0, 1, 2),
        realloc_array("recalloc_aligned_at", 0, 1, 2),
        free("free_size", 0),
        free("free_size_aligned", 0),
        free("free_aligned", 0),
        alloc("heap_malloc", 1),
        alloc("heap_malloc_small", 1),
        alloc("heap_zalloc", 1),
        array("heap_calloc", 1, 2),
        array("heap_mallocn", 1, 2),
        realloc("heap_realloc", 1, 2),
        realloc_array("heap_reallocn", 1, 2, 3),
        realloc("heap_reallocf", 1, 2),
        realloc("heap_rezalloc", 1, 2),
        realloc_array("heap_recalloc", 1, 2, 3),
        alloc("heap_malloc_aligned", 1),
        alloc("heap_malloc_aligned_at", 1),
        alloc("heap_zalloc_aligned", 1),
        alloc("heap_zalloc_aligned_at", 1),
        array("heap_calloc_aligned", 1, 2),
        realloc("heap_realloc_aligned", 1, 2),
        realloc("heap_rezalloc_aligned", 1, 2),
        new("new", 0),
        new("new_aligned", 0),
        alloc("new_nothrow", 0),
        alloc("new_aligned_nothrow", 0),
        Hook { throws: true, ..array("new_n", 0, 1) },
        Hook { throws: true, ..realloc("new_realloc", 0, 1) },
        Hook { throws: true, ..realloc_array("new_reallocn", 0, 1, 2) },
    ],
};

/// gperftools: src/gperftools/tcmalloc.h.in, beyond the names in [`LIBC`].
const TCMALLOC: Family = Family {
    name: "tcmalloc",
    prefixes: &["tc_"],
    takes_custom_prefix: false,
    belongs: Belongs::Anywhere,
    hooks: &[
        alloc("malloc_skip_new_handler", 0),
        new("new", 0),
        new("newarray", 0),
        new("new_aligned", 0),
        new("newarray_aligned", 0),
        alloc("new_nothrow", 0),
        alloc("newarray_nothrow", 0),
        alloc("new_aligned_nothrow", 0),
        alloc("newarray_aligned_nothrow", 0),
        free("delete", 0),
        free("deletearray", 0),
        free("delete_nothrow", 0),
        free("deletearray_nothrow", 0),
        free("delete_sized", 0),
        free("deletearray_sized", 0),
        free("delete_aligned", 0),
        free("deletearray_aligned", 0),
        free("delete_sized_aligned", 0),
        free("deletearray_sized_aligned", 0),
        free("delete_aligned_nothrow", 0),
        free("deletearray_aligned_nothrow", 0),
    ],
};

/// C++'s operators new and delete: every replaceable form of \[new.delete\], as the Itanium ABI mangles it.
const OPERATORS: Family = Family {
    name: "operator new",
    prefixes: &[""],
    takes_custom_prefix: false,
    belongs: Belongs::BesideMalloc,
    hooks: &[
        new("_Znwm", 0),
        new("_Znam", 0),
        new("_ZnwmSt11align_val_t", 0),
        new("_ZnamSt11align_val_t", 0),
        // Without exceptions, yet they may be built from the throwing ones, whose exception then passes through
        // their frame.
        new("_ZnwmRKSt9nothrow_t", 0),
        new("_ZnamRKSt9nothrow_t", 0),
        new("_ZnwmSt11align_val_tRKSt9nothrow_t", 0),
        new("_ZnamSt11align_val_tRKSt9nothrow_t", 0),
        free("_ZdlPv", 0),
        free("_ZdaPv", 0),
        free("_ZdlPvm", 0),
        free("_ZdaPvm", 0),
        free("_ZdlPvRKSt9nothrow_t", 0),
        free("_ZdaPvRKSt9nothrow_t", 0),
        free("_ZdlPvSt11align_val_t", 0),
        free("_ZdaPvSt11align_val_t", 0),
        free("_ZdlPvmSt11align_val_t", 0),
        free("_ZdaPvmSt11align_val_t", 0),
        free("_ZdlPvSt11align_val_tRKSt9nothrow_t", 0),
        free("_ZdaPvSt11align_val_tRKSt9nothrow_t", 0),
    ],
};

/// libc's wrappers. The kernel side takes their arguments by position itself.
const MAPPINGS: Family = Family {
    name: "mmap",
    prefixes: &[""],
    takes_custom_prefix: false,
    belongs: Belongs::Mappings,
    hooks: &[
        shape("mmap", Shape::Map, 1),
        shape("mmap64", Shape::Map, 1),
        shape("munmap", Shape::Unmap, 1),
        Hook { pointer_arg: 0, ..shape("mremap", Shape::Remap, 2) },
    ],
};

impl Hook {
    /// Bit i: the kernel side reads argument i at the entry.
    #[must_use]
    pub fn arguments(&self) -> u8 {
        let (size, count, pointer) = (1 << self.size_arg, 1 << self.count_arg, 1 << self.pointer_arg);
        match self.shape {
            Shape::Alloc => size,
            Shape::AllocArray => size | count,
            Shape::Realloc | Shape::AllocOut => size | pointer,
            Shape::ReallocArray => size | count | pointer,
            Shape::Free => pointer,
            // (addr, length, prot, flags) and (old, old_length, new_length, flags)
            Shape::Map | Shape::Remap => 0b1111,
            Shape::Unmap => 0b11,
        }
    }
}

const fn shape(symbol: &'static str, shape: Shape, size_arg: u8) -> Hook {
    Hook { symbol, shape, size_arg, count_arg: 0, pointer_arg: 0, throws: false }
}

const fn alloc(symbol: &'static str, size_arg: u8) -> Hook {
    shape(symbol, Shape::Alloc, size_arg)
}

const fn new(symbol: &'static str, size_arg: u8) -> Hook {
    Hook { throws: true, ..alloc(symbol, size_arg) }
}

const fn array(symbol: &'static str, count_arg: u8, size_arg: u8) -> Hook {
    Hook { count_arg, ..shape(symbol, Shape::AllocArray, size_arg) }
}

const fn realloc(symbol: &'static str, pointer_arg: u8, size_arg: u8) -> Hook {
    Hook { pointer_arg, ..shape(symbol, Shape::Realloc, size_arg) }
}

const fn realloc_array(symbol: &'static str, pointer_arg: u8, count_arg: u8, size_arg: u8) -> Hook {
    Hook { pointer_arg, count_arg, ..shape(symbol, Shape::ReallocArray, size_arg) }
}

const fn free(symbol: &'static str, pointer_arg: u8) -> Hook {
    Hook { pointer_arg, ..shape(symbol, Shape::Free, 0) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_stands_in_the_tables_twice() {
        let mut seen = HashSet::new();
        for family in FAMILIES {
            for (prefix, hook) in
                family.prefixes.iter().flat_map(|p| family.hooks.iter().map(move |h| (p, h)))
            {
                assert!(seen.insert(format!("{prefix}{}", hook.symbol)), "{prefix}{}", hook.symbol);
            }
        }
    }

    #[test]
    fn arguments_of_one_call_stand_at_different_positions() {
        for hook in FAMILIES.iter().flat_map(|family| family.hooks) {
            let expected = match hook.shape {
                Shape::Alloc | Shape::Free => 1,
                Shape::AllocArray | Shape::Realloc | Shape::AllocOut | Shape::Unmap => 2,
                Shape::ReallocArray => 3,
                Shape::Map | Shape::Remap => 4,
            };
            assert_eq!(hook.arguments().count_ones(), expected, "{}", hook.symbol);
        }
    }
}
