//! (being built)

pub mod btf;
