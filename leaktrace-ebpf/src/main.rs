//! leaktrace's kernel side: keeps, for each traced process, its live blocks and what each stack allocated
//! and freed. The agent reads the tables; only what is new (stacks, mappings, process events) is sent to it.
//!
//! Uprobe programs can be preempted and moved between runs, never between CPUs within one; another task can run
//! the same program on the same CPU in between. So per-CPU space is taken by an atomic exchange (`scratch`)
//! and every counter is added to atomically.

#![no_std]
#![no_main]
#![allow(internal_features, reason = "atomic exchange has no stable form that LLVM's BPF target compiles")]
#![feature(core_intrinsics, asm_experimental_arch)]

mod calls;
mod config;
mod count;
mod live;
mod maps;
mod probe;
mod read;
mod regs;
mod scratch;
mod stack;
mod unwind;
mod v8;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a reachable endless loop, so a panic that can happen does not load.
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
// The helpers that read user memory and attach cookies are offered to GPL-compatible programs only; the
// source of this object is under MIT or Apache-2.0 as well.
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
