//! The part of the stack that was read last. A read costs some 200 ns and 40 more for each KiB, so that a whole walk
//! should have one, and of no more than it needs: as much as the walk before it on this CPU, which mostly is of a
//! thread that does the same.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;

/// Reads end where a page ends: the stack may end there too, and running into what is not mapped costs a fault.
const PAGE: u64 = 4096;
/// Less than this up to the end of the page is read together with the next one. Above a stack there is always
/// some: the environment, or a thread's control block.
const LEAST: u64 = 1024;
/// A power of two above the longest read: offsets are masked with it for the verifier.
const SIZE: u64 = 8192;

#[repr(C)]
pub struct Window {
    base: u64,
    length: u64,
    /// Bytes that the last walk needed; 0 before the first.
    expected: u64,
    words: [u64; SIZE as usize / 8],
}

impl Window {
    /// Starts anew: what was read before belongs to another stack or moment.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.base = 0;
        self.length = 0;
    }

    /// The walk took this many bytes of the stack.
    #[inline(always)]
    pub fn expect(&mut self, bytes: u64) {
        self.expected = if bytes < SIZE { bytes } else { SIZE - 8 };
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

/// Reads the window from `address` on, a multiple of 8; 0 if there is at least a word. A function of its own: there are many
/// callers and the verifier would follow each copy.
#[inline(never)]
fn refill(window: &mut Window, address: u64) -> u64 {
    let is_first = window.base == 0;
    window.base = address;
    let to_page_end = (PAGE - (address & (PAGE - 1))) & (SIZE - 8);
    let expected = window.expected & (SIZE - 8);
    let wanted = if is_first && expected != 0 {
        expected
    } else if to_page_end < LEAST {
        to_page_end + PAGE
    } else {
        to_page_end
    };
    window.length = wanted;
    if read(window, address, wanted) {
        return 0;
    }
    window.length = to_page_end;
    if read(window, address, to_page_end) {
        return 0;
    }
    window.length = 0;
    1
}

#[inline(always)]
fn read(window: &mut Window, address: u64, length: u64) -> bool {
    let into = window.words.as_mut_ptr().cast();
    // SAFETY: the helper writes `length` bytes, of which there are at most a page and `LEAST`, less than the window has.
    unsafe { bpf_probe_read_user(into, length as u32, address as *const c_void) == 0 }
}
