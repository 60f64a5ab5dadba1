//! How memory went, a line a moment.

use std::io::{self, Write};

use super::{
    Report, Totals,
    amount::{bytes, count, duration, signed, tally},
};

/// What is shown of each moment of a recording.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    lines: Vec<Moment>,
}

#[derive(Clone, Debug)]
struct Moment {
    traced_ns: u64,
    totals: Totals,
    /// Estimated live bytes; none without a JavaScript engine.
    javascript: Option<u64>,
    /// Leaks and suspects.
    told: String,
}

impl Moments {
    /// The next one.
    pub fn add(&mut self, report: &Report) {
        let told = report.verdicts.iter().filter(|verdict| verdict.is_told());
        self.lines.push(Moment {
            traced_ns: report.traced_ns,
            totals: report.totals,
            javascript: report.javascript_bytes(),
            told: tally(told.map(|verdict| verdict.verdict.as_ref())),
        });
    }

    /// Whole lines.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let has_engine = self.lines.iter().any(|line| line.javascript.is_some());
        let javascript = if has_engine { format!("{:>12}", "JavaScript") } else { String::new() };
        writeln!(out, "{:>12}{:>12}{:>12}{:>14}{javascript}  verdicts", "after", "live", "change", "blocks")?;
        let mut before = 0;
        for Moment { traced_ns, totals, javascript, told } in &self.lines {
            let change = signed(totals.live_bytes.wrapping_sub(before).cast_signed());
            before = totals.live_bytes;
            let javascript = match (has_engine, javascript) {
                (false, _) => String::new(),
                (true, live) => format!("{:>12}", live.map_or_else(String::new, bytes)),
            };
            let line = format!(
                "{:>12}{:>12}{change:>12}{:>14}{javascript}  {told}",
                duration(*traced_ns),
                bytes(totals.live_bytes),
                count(totals.live_blocks)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
