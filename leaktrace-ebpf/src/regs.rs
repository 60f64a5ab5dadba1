//! The registers at a probe, by the calling convention of the architecture that this object is built for.

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64;
#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;

#[cfg(bpf_target_arch = "aarch64")]
use aarch64 as here;
#[cfg(bpf_target_arch = "x86_64")]
use x86_64 as here;

pub use here::{Here, RETURN_SLOT, Raw};

/// Registers of the probed thread.
#[derive(Clone, Copy)]
pub struct Regs<'a>(&'a Raw);

impl<'a> Regs<'a> {
    /// The registers of a uprobe's or uretprobe's context.
    ///
    /// # Safety
    /// `regs` must be the context that the kernel passed to this program.
    #[inline(always)]
    pub unsafe fn new(regs: *mut Raw) -> Self {
        // SAFETY: the kernel's context is valid for the whole run, and programs do not write to it.
        Self(unsafe { &*regs })
    }

    /// Argument 0 to 5 at a function's entry.
    ///
    /// All are read first, each by itself: reading the chosen one through a computed offset is what the compiler
    /// makes of a plain match, and the verifier refuses that on a context.
    #[inline(always)]
    pub fn argument(self, index: u8) -> u64 {
        let [first, second, third, fourth, fifth, sixth] = here::arguments(self.0).map(|register| {
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
        here::returned(self.0)
    }

    #[inline(always)]
    pub fn stack_pointer(self) -> u64 {
        here::stack_pointer(self.0)
    }

    #[inline(always)]
    pub fn frame_pointer(self) -> u64 {
        here::frame_pointer(self.0)
    }

    /// The register beside the frame pointer that unwinding follows.
    #[inline(always)]
    pub fn second(self) -> u64 {
        here::second(self.0)
    }

    /// At a return probe: where the function returns to.
    #[inline(always)]
    pub fn instruction_pointer(self) -> u64 {
        here::instruction_pointer(self.0)
    }
}
