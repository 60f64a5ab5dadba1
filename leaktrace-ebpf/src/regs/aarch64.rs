//! Procedure call standard for the Arm 64-bit architecture. It compiles; it has not run yet.

pub use aya_ebpf::bindings::user_pt_regs as Raw;
pub use leaktrace_common::unwind::Aarch64 as Here;

/// A call leaves the return address in a register.
pub const RETURN_SLOT: u64 = 0;

/// Where the arguments 0 to 5 are.
#[inline(always)]
pub fn arguments(regs: &Raw) -> [*const u64; 6] {
    [
        &raw const regs.regs[0],
        &raw const regs.regs[1],
        &raw const regs.regs[2],
        &raw const regs.regs[3],
        &raw const regs.regs[4],
        &raw const regs.regs[5],
    ]
}

#[inline(always)]
pub fn returned(regs: &Raw) -> u64 {
    regs.regs[0]
}

#[inline(always)]
pub fn stack_pointer(regs: &Raw) -> u64 {
    regs.sp
}

#[inline(always)]
pub fn frame_pointer(regs: &Raw) -> u64 {
    regs.regs[29]
}

/// The link register.
#[inline(always)]
pub fn second(regs: &Raw) -> u64 {
    regs.regs[30]
}

#[inline(always)]
pub fn instruction_pointer(regs: &Raw) -> u64 {
    regs.pc
}
