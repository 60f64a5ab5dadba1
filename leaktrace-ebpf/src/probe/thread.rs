//! The registers of every thread of the traced processes, told to who reads the iterator's file. No thread is stopped
//! or woken for it.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{seq_file, task_struct},
    helpers::generated::{bpf_probe_read_kernel, bpf_seq_write, bpf_task_pt_regs},
};
use leaktrace_common::thread::{REGISTERS, ThreadRegisters};

use crate::{config, maps::PROCESSES, read};

/// What the kernel passes: `struct bpf_iter__task`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c>.
#[repr(C)]
struct Context {
    /// `struct bpf_iter_meta`, whose first member is the file.
    meta: *const *mut seq_file,
    /// Null at the end.
    task: *mut task_struct,
}

/// aya has no macro for iterators yet.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn thread_registers(context: *const Context) -> i32 {
    // SAFETY: the kernel's own, valid while this runs; volatile, so that two loads are not joined into one that the
    // verifier does not know.
    let (meta, task) = unsafe {
        ((&raw const (*context).meta).read_volatile(), (&raw const (*context).task).read_volatile())
    };
    if task.is_null() {
        return 0;
    }
    let (Some(tid), Some(tgid)) = (
        read::kernel_u32(task as u64 + config::task_pid_offset()),
        read::kernel_u32(task as u64 + config::task_tgid_offset()),
    ) else {
        return 0;
    };
    // SAFETY: only whether there is one is asked.
    if unsafe { PROCESSES.get(tgid) }.is_none() {
        return 0;
    }
    let mut thread = ThreadRegisters { tgid, tid, words: [0; REGISTERS] };
    // SAFETY: a task of the verifier's; `words` is as long as is read, the file is that of this iterator. A record that
    // does not fit into the file's buffer is asked for again by the kernel, with a larger one.
    unsafe {
        let registers = bpf_task_pt_regs(task) as *const c_void;
        if bpf_probe_read_kernel(thread.words.as_mut_ptr().cast(), (REGISTERS * 8) as u32, registers) == 0 {
            bpf_seq_write(
                meta.read_volatile(),
                (&raw const thread).cast(),
                size_of::<ThreadRegisters>() as u32,
            );
        }
    }
    0
}
