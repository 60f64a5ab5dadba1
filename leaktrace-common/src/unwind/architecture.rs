//! What differs between the architectures. Both are compiled everywhere, so that tests of one run on the other.

/// An architecture's calling convention, as far as unwinding needs it.
pub trait Architecture {
    /// Where a call leaves the return address: this many bytes from the CFA, or in the link register, which
    /// then is the second register of a rule.
    const RETURN_ADDRESS: Option<i64>;
    /// Bits of a code address; pointer authentication keeps its signature in the others.
    const ADDRESS_BITS: u64;
    /// How a pending return probe is known: by its slot below the CFA (x86_64) or by the CFA itself.
    const RETURN_PROBE_KEY: i64;
    /// Words read from a signal frame, and where they start above the stack pointer.
    const SIGNAL_FRAME: u64;

    /// The interrupted registers, from the words of the signal frame.
    fn signal_frame(words: [u64; 8]) -> SignalFrame;
}

/// Registers at the interrupted instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalFrame {
    pub pc: u64,
    pub stack_pointer: u64,
    pub frame_pointer: u64,
    pub second: u64,
}

pub struct X86_64;

impl Architecture for X86_64 {
    const RETURN_ADDRESS: Option<i64> = Some(-8);
    const ADDRESS_BITS: u64 = u64::MAX;
    const RETURN_PROBE_KEY: i64 = -8;
    /// `ucontext`: flags, link and stack (40 bytes), then r8 to r15, rdi and rsi; read from rbp on.
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/uapi/asm/sigcontext.h>
    const SIGNAL_FRAME: u64 = 40 + 80;

    /// rbp, rbx, rdx, rax, rcx, rsp, rip, flags
    #[inline(always)]
    fn signal_frame(words: [u64; 8]) -> SignalFrame {
        let [frame_pointer, second, _, _, _, stack_pointer, pc, _] = words;
        SignalFrame { pc, stack_pointer, frame_pointer, second }
    }
}

pub struct Aarch64;

impl Architecture for Aarch64 {
    const RETURN_ADDRESS: Option<i64> = None;
    /// User addresses have 48 bits with 4 KiB pages, 52 with large addresses; above is the signature.
    const ADDRESS_BITS: u64 = (1 << 48) - 1;
    const RETURN_PROBE_KEY: i64 = 0;
    /// `siginfo` (128 bytes), `ucontext` before its machine context (176), the fault's address, x0 to x28; read
    /// from x29 on. <https://github.com/torvalds/linux/blob/v6.12/arch/arm64/include/uapi/asm/ucontext.h>
    const SIGNAL_FRAME: u64 = 128 + 176 + 8 + 29 * 8;

    /// x29, x30, sp, pc, pstate
    #[inline(always)]
    fn signal_frame(words: [u64; 8]) -> SignalFrame {
        let [frame_pointer, second, stack_pointer, pc, ..] = words;
        SignalFrame { pc, stack_pointer, frame_pointer, second }
    }
}
