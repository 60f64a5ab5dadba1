//! Unwind tables: from a binary's call frame information to what the kernel side unwinds by.
//!
//! `mapping` is where a process has code, `image` the binary there. `rows` reads `.eh_frame` and `.debug_frame`, `rule`
//! makes one of their rows a rule, `padding` needs none, `page` cuts the rows up, `arena` finds them a place in the
//! kernel's maps, and `tables` keeps what each process runs by. `finish` goes on with walks that came before their tables.
//! How the tables lie and how a frame is stepped stands in `leaktrace_common::unwind`.

pub mod arena;
pub mod finish;
pub mod image;
pub mod mapping;
pub mod padding;
pub mod page;
pub mod rows;
pub mod rule;
pub mod segment;
pub mod tables;
