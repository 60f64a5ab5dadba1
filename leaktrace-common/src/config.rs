//! Names of the kernel side's constants, set by the agent before the programs are loaded.
//!
//! Each is a `u64` static of this name in `leaktrace-ebpf/src/config.rs`.

/// Allocations below this many bytes are not recorded.
pub const MIN_SIZE: &str = "MIN_SIZE";
/// Allocations above this many bytes are not recorded.
pub const MAX_SIZE: &str = "MAX_SIZE";
/// Byte offset of `task_struct.pid`, from the kernel's BTF.
pub const TASK_PID_OFFSET: &str = "TASK_PID_OFFSET";
/// Byte offset of `task_struct.tgid`.
pub const TASK_TGID_OFFSET: &str = "TASK_TGID_OFFSET";
/// Byte offset of `task_struct.utask`; 0 if it is not known: pending return probes are then not undone.
pub const TASK_UTASK_OFFSET: &str = "TASK_UTASK_OFFSET";
/// Byte offset of `uprobe_task.return_instances`.
pub const UTASK_RETURNS_OFFSET: &str = "UTASK_RETURNS_OFFSET";
/// Byte offset of `return_instance.stack`.
pub const RETURN_STACK_OFFSET: &str = "RETURN_STACK_OFFSET";
/// Byte offset of `return_instance.orig_ret_vaddr`.
pub const RETURN_ADDRESS_OFFSET: &str = "RETURN_ADDRESS_OFFSET";
/// Byte offset of `return_instance.next`.
pub const RETURN_NEXT_OFFSET: &str = "RETURN_NEXT_OFFSET";

/// The constants that are offsets in kernel structures: name, structure, member.
pub const KERNEL_OFFSETS: [(&str, &str, &str); 7] = [
    (TASK_PID_OFFSET, "task_struct", "pid"),
    (TASK_TGID_OFFSET, "task_struct", "tgid"),
    (TASK_UTASK_OFFSET, "task_struct", "utask"),
    (UTASK_RETURNS_OFFSET, "uprobe_task", "return_instances"),
    (RETURN_STACK_OFFSET, "return_instance", "stack"),
    (RETURN_ADDRESS_OFFSET, "return_instance", "orig_ret_vaddr"),
    (RETURN_NEXT_OFFSET, "return_instance", "next"),
];
