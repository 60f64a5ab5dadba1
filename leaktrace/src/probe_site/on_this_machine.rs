//! Sites in the libraries of Debian 12; skipped with a word where they are others.

use super::*;

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
/// glibc 2.36-9+deb12, whose code the expectations were read from.
const VERSION: &[u8] = b"GNU C Library (Debian GLIBC 2.36-9+deb12";

#[test]
fn debians_libc_is_probed_where_the_kernel_emulates() {
    let data = std::fs::read(LIBC).unwrap_or_default();
    if !data.windows(VERSION.len()).any(|window| window == VERSION) {
        crate::say!("skipped: {LIBC} is not Debian 12's");
        return;
    }
    let binary = Binary::parse(&data).unwrap();
    let first = |arguments| Need { arguments, in_place: true, unmoved_stack: true, null_is_nothing: false };
    let free = Need { arguments: 0b1, in_place: false, unmoved_stack: false, null_is_nothing: true };
    for (symbol, need, expected) in [
        ("malloc", first(0b1), Some(0)),
        ("calloc", first(0b11), Some(0)),
        ("realloc", first(0b11), Some(0)),
        ("free", free, Some(9)),
        ("posix_memalign", first(0b101), Some(7)),
        ("memalign", first(0b10), Some(7)),
        ("valloc", first(0b1), Some(7)),
        ("pvalloc", first(0b1), Some(7)),
        ("mmap", first(0b1111), Some(10)),
        // mul, a system call and a moved stack come before anything cheap.
        ("reallocarray", first(0b111), None),
        ("munmap", first(0b11), None),
        ("mremap", first(0b1111), None),
    ] {
        let function = binary.functions().iter().find(|function| function.name == symbol).unwrap();
        let site = entry(&binary, function, need).unwrap();
        assert_eq!(site.emulated.then_some(site.from_entry), expected, "{symbol}");
        assert_eq!(site.pushed_words, 0, "{symbol}");
        assert_eq!(binary.offset_of(function.address).unwrap().0 + u64::from(site.from_entry), site.offset.0);
    }
}

#[test]
fn every_ret_found_in_jemallocs_operator_new_is_a_ret() {
    let Ok(data) = std::fs::read("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2") else {
        crate::say!("skipped: no libjemalloc.so.2");
        return;
    };
    let binary = Binary::parse(&data).unwrap();
    let new = binary.functions().iter().find(|function| function.name == "_Znwm").unwrap();
    let Returns::AtRet { sites, incomplete } = at_ret(&binary, new) else { panic!("rets are looked for") };
    assert!(!incomplete);
    assert!(sites.iter().all(|site| data[site.0 as usize] == 0xc3), "{sites:x?}");
}
