//! System V ABI, AMD64 supplement.

pub use aya_ebpf::bindings::pt_regs as Raw;
pub use leaktrace_common::unwind::X86_64 as Here;

/// Bytes that a call pushes, by which the stack pointer at a return differs from that at the entry.
pub const RETURN_SLOT: u64 = 8;

/// Where the arguments 0 to 5 are.
#[inline(always)]
pub fn arguments(regs: &Raw) -> [*const u64; 6] {
    [
        &raw const regs.rdi,
        &raw const regs.rsi,
        &raw const regs.rdx,
        &raw const regs.rcx,
        &raw const regs.r8,
        &raw const regs.r9,
    ]
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
