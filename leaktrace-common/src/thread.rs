//! A thread's registers, as the kernel side lists them for who asks: to one, a task iterator is a file to read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of x86-64's `pt_regs`.
pub const REGISTERS: usize = 21;
/// Which of them is the stack pointer.
pub const STACK_POINTER: usize = 19;

/// One thread, with what its registers held when it last entered the kernel: now, if it waits there; else at the last
/// interrupt or call, a tick ago at most on a kernel that has one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ThreadRegisters {
    pub tgid: u32,
    pub tid: u32,
    /// In the order of `pt_regs`,
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/ptrace.h>.
    pub words: [u64; REGISTERS],
}

const _: () = assert!(size_of::<ThreadRegisters>() == 8 + 8 * REGISTERS);
