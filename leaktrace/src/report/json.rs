//! The whole report, by the schema in `schema/report-v2.json`.

use std::io::{self, Write};

use super::{Exporter, Report};

#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Exporter for Json {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        // On one line: with a busy engine's stacks, white space would be most of the file.
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)
    }
}
