//! Live memory of the libc family and of other allocators, exact to the byte at each site.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests_kernel::{
    Agent, Program, assert_exact,
    compile::{Compiler, compiled},
    needs_root,
    private_libs::PrivateLibs,
    report::{Stack, Sums},
    trace,
};

fn is_exact(source: &str, compiler: Compiler, arguments: &[&str], flags: &[&str]) {
    needs_root();
    let mut program = Program::start(source, compiler, arguments).unwrap();
    let report = trace(&mut program, flags);
    assert_exact(&report, &program.truth);
}

#[test]
fn a_million_pairs_in_four_threads_and_two_leaks_are_exact() {
    is_exact("churn.c", Compiler::Gcc, &[], &[]);
}

#[test]
fn what_clang_compiles_is_exact_too() {
    is_exact("churn.c", Compiler::Clang, &[], &[]);
}

#[test]
fn each_function_of_the_libc_family_is_exact() {
    is_exact("family.c", Compiler::Gcc, &[], &[]);
}

#[test]
fn failed_calls_allocate_nothing_and_a_failed_realloc_keeps_its_block() {
    is_exact("realloc_fail.c", Compiler::Gcc, &[], &[]);
}

#[test]
fn blocks_freed_by_another_thread_are_exact() {
    is_exact("cross_thread.c", Compiler::Gcc, &[], &[]);
}

#[test]
fn a_stack_has_the_name_of_its_threads_where_they_have_one() {
    needs_root();
    let mut program = Program::c("named_threads.c").unwrap();
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
    let thread = |site: &str| {
        let is_of = |stack: &&Stack| stack.frames[0].function.as_deref() == Some(site);
        report.stacks.iter().find(is_of).unwrap().thread.as_deref()
    };
    let threads = ["by_one", "by_the_pool", "by_all"].map(thread);
    assert_eq!(threads, [Some("reader"), Some("pool worker"), None]);
}

#[test]
fn frees_of_blocks_from_before_tracing_are_counted_and_take_nothing() {
    is_exact("unknown_free.c", Compiler::Gcc, &[], &[]);
}

#[test]
fn operators_new_and_delete_are_exact_and_bad_alloc_is_caught() {
    is_exact("new_delete.cpp", Compiler::Gxx, &[], &[]);
}

#[test]
fn jemalloc_by_preload_is_exact_and_its_bad_alloc_is_caught() {
    needs_root();
    const JEMALLOC: &str = "libjemalloc.so.2";
    let executable = compiled("new_delete.cpp", Compiler::Gxx).unwrap();
    let libs = PrivateLibs::copy(&[JEMALLOC]).unwrap();
    let mut program = Program::start_file(&executable, &[], libs, &[JEMALLOC]).unwrap();
    assert!(program.maps().unwrap().contains(JEMALLOC));
    let report = trace(&mut program, &[]);
    assert_exact(&report, &program.truth);
}

#[test]
fn a_rust_programs_boxes_and_vectors_are_exact() {
    is_exact("leak.rs", Compiler::Rustc, &[], &[]);
}

#[test]
fn an_allocator_of_the_programs_own_is_exact() {
    is_exact("custom_prefix.c", Compiler::Gcc, &[], &["--prefix", "pool_"]);
}

#[test]
fn calls_further_down_the_stack_than_one_that_left_by_longjmp_are_exact() {
    is_exact("custom_prefix.c", Compiler::Gcc, &["deeper"], &["--prefix", "pool_"]);
}

#[test]
fn calls_that_left_by_longjmp_are_counted() {
    needs_root();
    let mut program = Program::c("custom_prefix.c").unwrap();
    let report = trace(&mut program, &["--prefix", "pool_"]);
    assert_eq!(report.counter("CallAbandoned"), 10);
}

#[test]
fn only_sizes_asked_for_are_recorded() {
    needs_root();
    let mut program = Program::c("family.c").unwrap();
    let report = trace(&mut program, &["--min-size", "500", "--max-size", "700"]);
    assert_eq!(report.at("site_malloc"), Sums::default());
    let told = |site: &str| program.truth.sites.iter().find(|(name, _)| name == site).unwrap().1;
    for site in ["site_posix_memalign", "site_aligned_alloc"] {
        assert_eq!(report.at(site), told(site), "{site}");
    }
    assert!(report.counter("SizeFiltered") > 0);
}

#[test]
fn two_leaktraces_on_one_process_are_both_exact() {
    needs_root();
    let mut program = Program::c("churn.c").unwrap();
    let first = Agent::attach(&[program.pid()], &[]).unwrap();
    let second = Agent::attach(&[program.pid()], &[]).unwrap();
    program.work().unwrap();
    let reports = [first.stop().unwrap(), second.stop().unwrap()];
    program.end().unwrap();
    for report in reports {
        assert_exact(&report, &program.truth);
    }
}

#[test]
fn one_leaktrace_on_two_processes_keeps_them_apart() {
    needs_root();
    let mut programs = [Program::c("family.c").unwrap(), Program::c("family.c").unwrap()];
    let agent = Agent::attach(&[programs[0].pid(), programs[1].pid()], &[]).unwrap();
    for program in &mut programs {
        program.work().unwrap();
    }
    let report = agent.stop().unwrap();
    for program in &mut programs {
        program.end().unwrap();
        for (site, told) in &program.truth.sites {
            assert_eq!(report.at_in(site, program.pid()), *told, "{site}");
        }
    }
}

#[test]
fn totals_are_the_sum_of_all_stacks() {
    needs_root();
    let mut program = Program::c("churn.c").unwrap();
    let report = trace(&mut program, &["--top", "1000000"]);
    let mut sum = Sums::default();
    for stack in &report.stacks {
        sum += stack.sums;
    }
    assert_eq!(report.totals, sum);
    assert!(report.coverage.events_seen >= 2_000_000, "{:?}", report.coverage);
}

#[test]
fn frames_have_lines_of_the_source() {
    needs_root();
    let mut program = Program::c("churn.c").unwrap();
    let report = trace(&mut program, &[]);
    let stack = report.stacks_at("leak_large").next().unwrap();
    assert_eq!(stack.function.as_deref(), Some("malloc"));
    let frame = stack.frames.iter().find(|frame| frame.is("leak_large")).unwrap();
    assert!(frame.file.as_deref().is_some_and(|file| file.ends_with("churn.c")), "{frame:?}");
    assert!(frame.line.is_some(), "{frame:?}");
    assert!(stack.frames.iter().any(|frame| frame.is("work")), "{:?}", stack.frames);
}
