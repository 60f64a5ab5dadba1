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
    ///
    /// All are read first, each by itself: reading the chosen one through a computed offset is what the compiler
    /// makes of the plain match, and the verifier refuses that on a context.
    #[inline(always)]
    pub fn argument(self, index: u8) -> u64 {
        let [first, second, third, fourth, fifth, sixth] = [
            &raw const self.0.rdi,
            &raw const self.0.rsi,
            &raw const self.0.rdx,
            &raw const self.0.rcx,
            &raw const self.0.r8,
            &raw const self.0.r9,
        ]
        .map(|register| {
            // SAFETY: a field of the context, which is valid for the whole run.
            unsafe { register.read_volatile() }
        });
        match index {
            0 => first,
            1 => second,
            2 => third,
            3 => fourth,
            4 => fifth,
            _ => sixth,
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
