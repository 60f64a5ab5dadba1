//! Folded stacks, a line each: `comm-pid;outermost;...;malloc BYTES`. A frame's kind is a suffix: `_[j]` JavaScript and
//! other code made at run time, `_[i]` inlined.
//!
//! The format has no escapes, so what separates (`;`, line ends) is replaced in names. Read by flamegraph.pl,
//! inferno, speedscope. <https://github.com/brendangregg/FlameGraph/blob/v1.0/stackcollapse.pl>

use std::io::{self, Write};

use super::{
    metric::Metric,
    paths::{Roots, lines},
};
use crate::report::{Exporter, Report};

#[derive(Clone, Copy, Debug, Default)]
pub struct Folded {
    pub metric: Metric,
}

impl Exporter for Folded {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        for (line, value) in lines(report, self.metric, Roots::Processes) {
            writeln!(out, "{line} {value}")?;
        }
        Ok(())
    }
}
