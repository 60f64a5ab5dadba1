//! What was typed and what it means. Arguments do not travel past here: the rest of the agent sees a `Plan`.

mod args;
pub mod exit;
mod plan;

pub use args::Args;
pub use plan::{Colour, Output, Plan, Targets, UsageError};
