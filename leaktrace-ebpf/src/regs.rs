//! The registers at a probe, by the calling convention of the architecture.

use aya_ebpf::bindings::pt_regs;
use leaktrace_common::unwind::X86_64;

/// The architecture that this object is built for.
pub type Here = X86_64;

/// Registers of the probed thread.
#[derive(Clone, Copy)]
pub struct Regs<'a>(&'a pt_regs);

/// Bytes that a call pushes, by which the stack pointer at a return differs from that at the entry.
pub const RETURN_SLOT: u64 = 8;

impl<'a> Regs<'a> {
    /// The registers of a uprobe's or uretprobe's context.
    ///
    /// # Safety
    /// `regs` must be the context that the kernel passed to this program.
    #[inline(always)]
    pub unsafe fn new(regs: *mut pt_regs) -> Self {
        // SAFETY: the kernel's context is valid for the whole run, and programs do not write to it.
        Self(unsafe { &*regs })
    }

    /// Argument 0 to 5 at a function's entry (System V ABI, x86_64).
    #[inline(always)]
    pub fn argument(self, index: u8) -> u64 {
        match index {
            0 => self.0.rdi,
            1 => self.0.rsi,
            2 => self.0.rdx,
            3 => self.0.rcx,
            4 => self.0.r8,
            _ => self.0.r9,
        }
    }

    /// What the function returned, at its return.
    #[inline(always)]
    pub fn returned(self) -> u64 {
        self.0.rax
    }

    #[inline(always)]
    pub fn stack_pointer(self) -> u64 {
        self.0.rsp
    }

    #[inline(always)]
    pub fn frame_pointer(self) -> u64 {
        self.0.rbp
    }

    /// The register beside the frame pointer that unwinding follows.
    #[inline(always)]
    pub fn second(self) -> u64 {
        self.0.rbx
    }

    /// At a return probe: where the function returns to.
    #[inline(always)]
    pub fn instruction_pointer(self) -> u64 {
        self.0.rip
    }
}
