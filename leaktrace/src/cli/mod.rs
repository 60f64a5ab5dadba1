//! What was typed and what it means. Arguments do not travel past here: the rest of the agent sees a `Plan`.

mod args;
mod census;
pub mod exit;
mod outputs;
mod plan;
mod push;
mod recorded;
mod selection;

pub use args::Args;
pub use census::CensusPlan;
pub use outputs::{Exports, Format, Lines};
pub use plan::{Colour, FailOn, Output, Plan, Targets, Task, UsageError};
pub use push::PushTo;
pub use recorded::{DiffPlan, ReportPlan, Shown};
