//! System V ABI, AMD64 supplement.

pub use aya_ebpf::bindings::pt_regs as Raw;
pub use leaktrace_common::unwind::X86_64 as Here;

/// Bytes that a call pushes, by which the stack pointer at a return differs from that at the entry.
pub const RETURN_SLOT: u64 = 8;

#[inline(always)]
pub fn argument(regs: &Raw, index: u8) -> u64 {
    match index {
        0 => regs.rdi,
        1 => regs.rsi,
        2 => regs.rdx,
        3 => regs.rcx,
        4 => regs.r8,
        _ => regs.r9,
    }
}

#[inline(always)]
pub fn returned(regs: &Raw) -> u64 {
    regs.rax
}

#[inline(always)]
pub fn stack_pointer(regs: &Raw) -> u64 {
    regs.rsp
}

#[inline(always)]
pub fn frame_pointer(regs: &Raw) -> u64 {
    regs.rbp
}

#[inline(always)]
pub fn second(regs: &Raw) -> u64 {
    regs.rbx
}

#[inline(always)]
pub fn instruction_pointer(regs: &Raw) -> u64 {
    regs.rip
}
