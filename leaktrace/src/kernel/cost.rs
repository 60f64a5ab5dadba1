//! What tracing takes of the traced processes' time.
//!
//! The kernel times its programs while it is asked to; what it takes to get to a program and back (the trap) is not in that,
//! and is measured once, on functions of our own.

#![allow(
    unsafe_code,
    reason = "the bpf system call takes raw pointers, and functions to trap on are written in assembly"
)]

use std::{
    arch::naked_asm,
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    thread,
};

use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

use super::{
    Kernel, LoadError,
    attach::{AttachError, Place, Program},
    clock,
    load::table_error,
    seccomp::file_offset,
    tables::{self, bpf, owned},
};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_ENABLE_STATS: libc::c_int = 32;

/// Programs of native memory.
const OF_HEAP: [Program; 4] =
    [Program::FreeEnter, Program::CallReturn, Program::CallAtRet, Program::CallEnter];

/// Calls of a function of our own: few enough for a start without delay, where each is single-stepped too.
const CALLS: u64 = 1000;

/// How often each program of native memory was run, and for how long in all; while they are timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    counts: [u64; OF_HEAP.len()],
    ns: u64,
}

/// Nanoseconds of a trap, by what the kernel does with the instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traps {
    pub emulated: u64,
    pub stepped: u64,
    pub returned: u64,
}

/// The kernel times programs for as long as one of these is open, ours and everybody's.
#[derive(Debug)]
pub struct Timing(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

/// `union bpf_attr` to have programs timed; kind 0 is run time.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct EnableStats {
    kind: u32,
}

/// `union bpf_attr` to ask about a program.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct AskAbout {
    fd: u32,
    length: u32,
    answer: u64,
}

/// `struct bpf_prog_info` up to what is asked for.
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
struct ProgramInfo {
    before: [u64; 24],
    run_time_ns: u64,
    runs: u64,
}

impl Timing {
    /// # Errors
    /// The kernel refuses.
    pub fn start() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        owned(unsafe { bpf(BPF_ENABLE_STATS, &mut EnableStats::default()) }).map(Self)
    }
}

impl Runs {
    /// Since these were read.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let counts = std::array::from_fn(|at| self.counts[at].saturating_sub(before.counts[at]));
        Self { counts, ns: self.ns.saturating_sub(before.ns) }
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Nanoseconds that the traced processes lost by them. `stepped` says of which programs a probe is single-stepped.
    #[must_use]
    pub fn cost(&self, traps: Traps, stepped: impl Fn(Program) -> bool) -> u64 {
        let trap = |program: Program| match program {
            Program::CallReturn => traps.returned,
            program if stepped(program) => traps.stepped,
            _ => traps.emulated,
        };
        self.ns + OF_HEAP.iter().zip(self.counts).map(|(program, count)| trap(*program) * count).sum::<u64>()
    }
}

impl Kernel {
    /// Whether probes can be taken back and placed again many at a time.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.multi.is_some()
    }

    /// How often and how long the programs ran that were timed.
    #[must_use]
    pub fn runs(&self) -> Option<Runs> {
        let mut runs = Runs::default();
        for (program, count) in OF_HEAP.iter().zip(&mut runs.counts) {
            for fd in self.loaded(*program) {
                let mut info = ProgramInfo::new_zeroed();
                let mut ask = AskAbout {
                    fd: fd.as_raw_fd() as u32,
                    length: size_of::<ProgramInfo>() as u32,
                    answer: &raw mut info as u64,
                };
                // SAFETY: the answer is as long as said.
                unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask) }.ok()?;
                *count += info.runs;
                runs.ns += info.run_time_ns;
            }
        }
        Some(runs)
    }

    /// Native memory is watched from now on, or not any more: in all processes at one moment. Since when.
    pub fn watch_heap(&self, is_watched: bool) -> Result<u64, LoadError> {
        let now = clock::now();
        let since = if is_watched { now } else { leaktrace_common::live::PAUSED };
        let table = "WATCHED_SINCE";
        tables::insert(self.fd(table)?, &0u32, &since).map_err(|source| table_error(table, source))?;
        Ok(now)
    }

    /// Measures traps on functions of our own.
    ///
    /// # Errors
    /// No probe could be placed on them.
    pub fn measure_traps(&mut self) -> Result<Traps, AttachError> {
        let functions: [extern "C" fn(); 3] = [emulated, stepped, returned];
        let at =
            |function: extern "C" fn()| file_offset(function as *const () as u64).map_err(AttachError::Trial);
        let [emulated_at, stepped_at, returned_at] = functions.map(at);
        let place = |program, offset| Place { program, offset, cookie: 0 };
        let places = [
            place(Program::FreeEnter, emulated_at?),
            place(Program::FreeEnter, stepped_at?),
            place(Program::CallReturn, returned_at?),
        ];
        let bare = functions.map(time);
        let probes =
            self.attach(Path::new("/proc/self/exe"), NonZeroU32::new(std::process::id()), &places)?;
        let probed = functions.map(time);
        // The kernel takes its time; where there can be no thread, ours.
        let _ = thread::Builder::new().spawn(move || drop(probes));
        let [emulated, stepped, returned] =
            std::array::from_fn(|at| probed[at].saturating_sub(bare[at]) / CALLS);
        // The probe whose return is looked at traps at the entry as well, where the program before it is charged for that.
        Ok(Traps { emulated, stepped, returned: returned.saturating_sub(emulated) })
    }
}

/// Nanoseconds of this thread for all calls.
fn time(function: extern "C" fn()) -> u64 {
    let begun = clock::of_thread();
    (0..CALLS).for_each(|_| function());
    clock::of_thread().saturating_sub(begun)
}

/// Its first instruction is one that the kernel emulates.
#[unsafe(naked)]
extern "C" fn emulated() {
    naked_asm!("nop", "ret")
}

/// Its first instruction is one that the kernel runs out of line; it changes nothing.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn stepped() {
    naked_asm!("test edi, edi", "ret")
}

#[cfg(not(target_arch = "x86_64"))]
#[unsafe(naked)]
extern "C" fn stepped() {
    naked_asm!("mov x9, x9", "ret")
}

#[unsafe(naked)]
extern "C" fn returned() {
    naked_asm!("nop", "ret")
}
