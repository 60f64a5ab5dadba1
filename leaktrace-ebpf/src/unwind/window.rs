//! The part of the stack that was read last. One read of 4 KiB costs as much as four of 8 bytes.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;

/// Bytes read at once. A power of two: offsets are masked with it for the verifier.
const SIZE: u64 = 4096;

#[repr(C)]
pub struct Window {
    base: u64,
    length: u64,
    words: [u64; SIZE as usize / 8],
}

impl Window {
    /// Starts anew: what was read before belongs to another stack or moment.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.base = 0;
        self.length = 0;
    }

    /// The word at `address`, if it is a multiple of 8 and can be read.
    #[inline(always)]
    pub fn word(&mut self, address: u64) -> Option<u64> {
        if address & 7 != 0 {
            return None;
        }
        let mut offset = address.wrapping_sub(self.base);
        if offset >= self.length {
            if refill(self, address) != 0 {
                return None;
            }
            offset = 0;
        }
        // SAFETY: the mask keeps the word within the window.
        Some(unsafe { *self.words.as_ptr().add((offset & (SIZE - 8)) as usize / 8) })
    }
}

/// Reads the window from `address` on; 0 if there is at least a word. A function of its own: there are many
/// callers and the verifier would follow each copy.
#[inline(never)]
fn refill(window: &mut Window, address: u64) -> u64 {
    window.base = address;
    window.length = SIZE;
    let into = window.words.as_mut_ptr().cast();
    // SAFETY: the helper writes at most `SIZE` bytes, as many as the window has.
    if unsafe { bpf_probe_read_user(into, SIZE as u32, address as *const c_void) } == 0 {
        return 0;
    }
    // The stack ends before: up to the end of this page, then.
    let rest = (SIZE - (address & (SIZE - 1))) & (SIZE - 8);
    window.length = rest;
    // SAFETY: `rest` is less than `SIZE`.
    if rest == 0 || unsafe { bpf_probe_read_user(into, rest as u32, address as *const c_void) } != 0 {
        window.length = 0;
        return 1;
    }
    0
}
