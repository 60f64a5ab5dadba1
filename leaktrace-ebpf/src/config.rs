//! Constants that the agent sets before loading, named in `leaktrace_common::config`.
//!
//! Each has a default of its own that is not zero: equal or zero-initialised statics are merged by the compiler
//! with each other and with constant map keys, and setting one would then change the other.

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident, $getter:ident = $default:literal;)*) => {$(
        #[unsafe(no_mangle)]
        static $name: u64 = $default;

        $(#[$doc])*
        #[inline(always)]
        pub fn $getter() -> u64 {
            // SAFETY: a static is always readable. Volatile, because the value is changed after compilation.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        }
    )*};
}

constants! {
    /// Smallest allocation recorded, in bytes.
    MIN_SIZE, min_size = 0xdead_0001;
    /// Largest allocation recorded, in bytes.
    MAX_SIZE, max_size = 0xdead_0002;
    /// Byte offset of `task_struct.pid`.
    TASK_PID_OFFSET, task_pid_offset = 0xdead_0003;
    /// Byte offset of `task_struct.tgid`.
    TASK_TGID_OFFSET, task_tgid_offset = 0xdead_0004;
    /// Byte offset of `task_struct.utask`, 0 if not known.
    TASK_UTASK_OFFSET, task_utask_offset = 0xdead_0005;
    /// Byte offset of `uprobe_task.return_instances`.
    UTASK_RETURNS_OFFSET, utask_returns_offset = 0xdead_0006;
    /// Byte offset of `return_instance.stack`.
    RETURN_STACK_OFFSET, return_stack_offset = 0xdead_0007;
    /// Byte offset of `return_instance.orig_ret_vaddr`.
    RETURN_ADDRESS_OFFSET, return_address_offset = 0xdead_0008;
    /// Byte offset of `return_instance.next`.
    RETURN_NEXT_OFFSET, return_next_offset = 0xdead_0009;
}
