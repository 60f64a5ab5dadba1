//! Tests of the unwinder on real processes: `truth` compares every stack with the process's own, `cost` measures.

pub mod kernel;
pub mod programs;
pub mod tables;
pub mod tracee;
