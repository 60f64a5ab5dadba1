//! V8 from outside: its collections, samples of its heap, and the names of JavaScript frames.
//!
//! Nothing is put into the process: probes at V8's own C++ functions, and its memory read from outside. What is read
//! and probed, by version: docs/v8.md.

mod baseline;
pub mod capability;
mod code;
mod constants;
mod decoder;
pub mod derive;
pub mod detect;
#[doc(hidden)]
pub mod distort;
mod frame;
mod function;
mod kind;
pub mod layout;
mod learned;
mod lines;
mod machine_code;
mod object;
mod objects;
mod positions;
pub mod probes;
mod reason;
mod scope;
mod script;
mod string;
#[cfg(test)]
mod tests;
mod unnamed;
pub mod wasm;

pub use self::{
    decoder::Decoder,
    frame::{At, Builtins, FunctionSeen, JsFrame, Tier},
    reason::NotRead,
};
