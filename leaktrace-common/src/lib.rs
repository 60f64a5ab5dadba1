//! What crosses between the kernel side and the agent, and nothing else.
//!
//! Every type here is plain data with explicit padding. Numbers that the kernel side writes are read back
//! with `TryFrom`: an unknown value is counted by the agent, never a panic.

#![no_std]

pub mod config;
pub mod counter;
pub mod event;
pub mod hook;
pub mod live;
pub mod process;
pub mod stack;
pub mod thread;
pub mod unfinished;
pub mod unwind;
pub mod v8;
