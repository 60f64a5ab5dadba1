//! The whole report, by the schema in `schema/report-v1.json`.

use std::io::{self, Write};

use super::{Exporter, Report};

#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Exporter for Json {
    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)
    }
}
