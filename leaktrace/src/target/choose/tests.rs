use super::*;

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const LIBSTDCXX: &str = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6";

/// The hooks of a file of this machine; none, with a word, where it is not installed.
fn hooks(path: &str, wanted: &Wanted) -> Option<Result<Hooks, NoAllocator>> {
    let Ok(data) = std::fs::read(path) else {
        crate::say!("skipped: no {path}");
        return None;
    };
    Some(hooks_of(&Binary::parse(&data).unwrap(), wanted))
}

fn symbols(hooks: &Hooks) -> Vec<&str> {
    let mut symbols: Vec<_> = hooks.found.iter().map(|hook| hook.symbol.as_str()).collect();
    symbols.sort_unstable();
    symbols
}

#[test]
fn libc_has_each_function_once_by_its_best_known_name() {
    let Some(hooks) = hooks(LIBC, &Wanted::default()) else { return };
    let hooks = hooks.unwrap();
    let symbols = symbols(&hooks);
    for expected in ["malloc", "calloc", "realloc", "free", "posix_memalign", "valloc", "pvalloc"] {
        assert!(symbols.contains(&expected), "{expected} not in {symbols:?}");
    }
    assert!(!symbols.contains(&"cfree"), "an alias of free");
    assert!(!symbols.contains(&"mmap"), "not asked for");
    let mut offsets: Vec<_> = hooks.found.iter().map(|hook| hook.entry.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), hooks.found.len());
}

#[test]
fn each_hook_says_how_its_end_is_seen() {
    let Some(hooks) = hooks(LIBC, &Wanted::default()) else { return };
    for hook in hooks.unwrap().found {
        let expected = if hook.shape == Shape::Free { Returns::NotNeeded } else { Returns::Uretprobe };
        assert_eq!(hook.returns, expected, "{}", hook.symbol);
    }
}

#[test]
fn mappings_come_only_when_they_are_wanted() {
    let wanted = Wanted { mappings: true, ..Wanted::default() };
    let Some(hooks) = hooks(LIBC, &wanted) else { return };
    let hooks = hooks.unwrap();
    for expected in ["mmap", "munmap", "mremap"] {
        assert!(symbols(&hooks).contains(&expected), "{expected}");
    }
}

#[test]
fn the_cookie_carries_what_the_kernel_side_reads() {
    let Some(hooks) = hooks(LIBC, &Wanted::default()) else { return };
    let hooks = hooks.unwrap();
    let calloc = hooks.found.iter().find(|hook| hook.symbol == "calloc").unwrap();
    let cookie = calloc.cookie(7);
    assert_eq!((cookie.count_arg, cookie.size_arg, cookie.hook, cookie.pushed_words), (0, 1, 7, 0));
    assert_eq!(Shape::try_from(cookie.shape), Ok(Shape::AllocArray));
}

#[test]
fn operators_of_libstdcxx_are_left_to_the_malloc_they_call() {
    let Some(hooks) = hooks(LIBSTDCXX, &Wanted::default()) else { return };
    assert_eq!(hooks, Err(NoAllocator::NoneDefined));
}

#[test]
fn operator_new_of_jemalloc_is_seen_at_its_rets_and_never_by_a_return_probe() {
    let Some(hooks) = hooks(JEMALLOC, &Wanted::default()) else { return };
    let hooks = hooks.unwrap();
    let new = hooks.found.iter().find(|hook| hook.symbol == "_Znwm").unwrap();
    assert!(new.throws);
    let Returns::AtRet { sites, incomplete } = &new.returns else { panic!("{:?}", new.returns) };
    // The fast path, the slow path, and the handler of exhaustion.
    assert!(sites.len() >= 3 && !incomplete, "{:?}", new.returns);
    assert!(hooks.found.iter().filter(|hook| hook.throws).all(|hook| hook.returns != Returns::Uretprobe));
    assert!(symbols(&hooks).contains(&"mallocx"));
    assert!(symbols(&hooks).contains(&"sdallocx"));
}

#[test]
fn an_operator_delete_that_only_calls_free_is_not_counted_beside_it() {
    let Some(hooks) = hooks(JEMALLOC, &Wanted::default()) else { return };
    let hooks = hooks.unwrap();
    let delete = hooks.skipped.iter().find(|skipped| skipped.symbol == "_ZdlPv").unwrap();
    assert_eq!(delete.why, Skip::PassedOn { to: "free".to_owned() });
    assert!(!delete.why.loses());
    assert!(symbols(&hooks).contains(&"_ZdlPvm"), "sized delete does the work itself");
    let aligned = hooks.skipped.iter().find(|skipped| skipped.symbol == "_ZnwmSt11align_val_t").unwrap();
    assert_eq!(aligned.why, Skip::PassedOn { to: "aligned_alloc".to_owned() });
}

#[test]
fn glibcs_loader_is_no_allocator() {
    let Some(hooks) = hooks("/lib64/ld-linux-x86-64.so.2", &Wanted::default()) else { return };
    assert!(hooks.is_err(), "{hooks:?}");
}

mod with_a_compiler {
    use std::{path::PathBuf, process::Command};

    use super::*;

    /// The hooks of a library made from C source; none, with a word, where there is no compiler.
    fn compiled(
        name: &str,
        source: &str,
        arguments: &[&str],
        wanted: &Wanted,
    ) -> Option<Result<Hooks, NoAllocator>> {
        let folder: PathBuf = std::env::temp_dir();
        let file = folder.join(format!("leaktrace-{}-{name}.c", std::process::id()));
        let library = file.with_extension("so");
        std::fs::write(&file, source).unwrap();
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
            .arg(&library)
            .arg(&file)
            .args(arguments)
            .status();
        std::fs::remove_file(&file).unwrap();
        if !made.is_ok_and(|status| status.success()) {
            crate::say!("skipped: no working C compiler");
            return None;
        }
        let data = std::fs::read(&library).unwrap();
        std::fs::remove_file(&library).unwrap();
        Some(hooks_of(&Binary::parse(&data).unwrap(), wanted))
    }

    const POOL: &str = "static char pool[4096]; static long used;
        void *my_malloc(long n) { char *p = pool + used; used += n; return p; }
        void my_free(void *p) { used -= 8; }";

    #[test]
    fn a_prefix_of_the_users_own_finds_their_allocator() {
        let wanted = Wanted { prefixes: vec!["my_".to_owned()], ..Wanted::default() };
        let Some(hooks) = compiled("prefix", POOL, &[], &wanted) else { return };
        assert_eq!(symbols(&hooks.unwrap()), ["my_free", "my_malloc"]);
        let Some(hooks) = compiled("no_prefix", POOL, &[], &Wanted::default()) else { return };
        assert_eq!(hooks, Err(NoAllocator::NoneDefined));
    }

    #[test]
    fn what_only_allocates_is_no_allocator() {
        let source = "void *malloc(long n) { return (void *)n; }";
        let Some(hooks) = compiled("only_malloc", source, &["-fno-builtin"], &Wanted::default()) else {
            return;
        };
        assert_eq!(hooks, Err(NoAllocator::NothingFrees { symbol: "malloc".to_owned() }));
    }

    #[test]
    fn a_stripped_file_without_exports_says_that_symbols_are_missing() {
        let source = "__attribute__((visibility(\"hidden\"))) void *malloc(long n) { return (void *)n; }";
        let arguments = ["-s", "-nostdlib", "-fno-builtin"];
        let Some(hooks) = compiled("stripped", source, &arguments, &Wanted::default()) else { return };
        assert_eq!(hooks, Err(NoAllocator::NoSymbols));
    }

    #[test]
    fn a_stripped_static_program_is_read_with_its_debug_file() {
        let base = std::env::temp_dir().join(format!("leaktrace-{}-static", std::process::id()));
        let [source, full, stripped, debug] =
            ["c", "full", "stripped", "debug"].map(|end| base.with_extension(end));
        std::fs::write(&source, "#include <stdlib.h>\nint main(int n) { free(malloc(n)); }").unwrap();
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = run(Command::new("cc").args(["-static", "-o"]).arg(&full).arg(&source))
            && run(Command::new("objcopy").arg("--only-keep-debug").arg(&full).arg(&debug))
            && run(Command::new("strip").arg("-o").arg(&stripped).arg(&full));
        let read = |path| std::fs::read(path).unwrap_or_default();
        let (program, symbols, whole) = (read(&stripped), read(&debug), read(&full));
        for path in [source, full, stripped, debug] {
            let _ = std::fs::remove_file(path);
        }
        if !made {
            crate::say!("skipped: no C compiler that links statically");
            return;
        }
        let mut binary = Binary::parse(&program).unwrap();
        assert!(binary.is_static());
        assert_eq!(hooks_of(&binary, &Wanted::default()), Err(NoAllocator::NoSymbols));
        binary.add_symbols_of(&symbols).unwrap();
        let expected = hooks_of(&Binary::parse(&whole).unwrap(), &Wanted::default()).unwrap();
        assert_eq!(hooks_of(&binary, &Wanted::default()), Ok(expected));
    }

    #[test]
    fn an_ifunc_is_skipped_and_reported() {
        let source = "static void *real(long n) { return (void *)n; }
            static void *choose(void) { return real; }
            void *malloc(long) __attribute__((ifunc(\"choose\")));
            void *calloc(long n, long m) { return (void *)(n * m); }
            void free(void *p) { *(long *)p = 0; }";
        let Some(hooks) = compiled("ifunc", source, &["-fno-builtin"], &Wanted::default()) else { return };
        let hooks = hooks.unwrap();
        assert_eq!(symbols(&hooks), ["calloc", "free"]);
        assert_eq!(hooks.skipped, [Skipped { symbol: "malloc".to_owned(), why: Skip::Indirect }]);
        assert!(hooks.skipped[0].why.loses());
    }

    #[test]
    fn a_chain_of_thunks_ends_at_the_one_function_that_frees() {
        let source = "void *malloc(long n) { return (void *)n; }
            __attribute__((noinline)) void free(void *p) { *(volatile long *)p = 0; }
            __attribute__((noinline)) void _ZdlPv(void *p) { if (p) free(p); }
            void _ZdlPvm(void *p, long n) { _ZdlPv(p); }";
        let Some(hooks) = compiled("thunks", source, &["-O2", "-fno-builtin"], &Wanted::default()) else {
            return;
        };
        let hooks = hooks.unwrap();
        assert_eq!(symbols(&hooks), ["free", "malloc"], "{:?}", hooks.skipped);
    }

    #[test]
    fn a_free_that_reaches_another_name_of_free_by_the_linkage_table_is_not_counted_twice() {
        // As Debian's libmimalloc does it.
        let source = "void *mi_malloc(long n) { return (void *)n; }
            void mi_free(void *p) { *(volatile long *)p = 0; }
            void free(void *p) __attribute__((alias(\"mi_free\")));
            void mi_free_size(void *p, long n) { mi_free(p); }";
        let Some(hooks) = compiled("alias", source, &["-O2", "-fno-builtin"], &Wanted::default()) else {
            return;
        };
        let hooks = hooks.unwrap();
        assert_eq!(symbols(&hooks), ["free", "mi_malloc"]);
        assert_eq!(hooks.skipped[0].why, Skip::PassedOn { to: "free".to_owned() });
    }

    /// How the returns of an `operator new` with this body are seen.
    fn returns_of_new(name: &str, body: &str) -> Option<Result<Returns, Skip>> {
        let source = format!(
            "void *malloc(long n) {{ return (void *)n; }}
             void free(void *p) {{ *(volatile long *)p = 0; }}
             void *(*handler)(long);
             void *slow(long n) {{ return n > 200 ? (void *)(n * 5) : handler(n + 1) + 1; }}
             void *_Znwm(long n) {{ {body} }}"
        );
        let hooks = compiled(name, &source, &["-O2", "-fno-builtin"], &Wanted::default())?.unwrap();
        let found = hooks.found.into_iter().find(|hook| hook.symbol == "_Znwm").map(|hook| Ok(hook.returns));
        let skipped = || hooks.skipped.into_iter().find(|skipped| skipped.symbol == "_Znwm");
        found.or_else(|| skipped().map(|skipped| Err(skipped.why)))
    }

    #[test]
    fn the_rets_of_a_function_that_is_jumped_to_count_too() {
        // As gperftools does it: by the linkage table, to a function of the same file.
        let body = "return n > 100 ? slow(n) : (void *)(n * 3);";
        let Some(returns) = returns_of_new("tail", body) else { return };
        let Ok(Returns::AtRet { sites, incomplete }) = returns else { panic!("{returns:?}") };
        assert!(sites.len() >= 2 && !incomplete, "{sites:?} {incomplete}");
    }

    #[test]
    fn a_tail_call_through_a_pointer_is_a_way_out_that_is_not_found() {
        let Some(returns) = returns_of_new("some", "return n > 100 ? handler(n) : (void *)(n * 3);") else {
            return;
        };
        assert!(matches!(returns, Ok(Returns::AtRet { incomplete: true, .. })), "{returns:?}");
        let Some(returns) = returns_of_new("none", "return handler(n);") else { return };
        assert_eq!(returns, Err(Skip::NoReturns));
    }
}
