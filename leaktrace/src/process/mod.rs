//! x
/// x
pub fn in_initial_pid_namespace() -> bool { true }
