//! Programs that manage memory of their own, above malloc.

pub mod v8;
