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
