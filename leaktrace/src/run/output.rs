//! Where reports go. Files are opened before tracing starts, so that an hour's trace is not lost to a typo.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    cli::{self, Format},
    export::{Flamegraph, Folded, HeapProfile, Html, Metric, Pprof, Speedscope},
    report::{Exporter, Json, Report},
};

/// An output cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}\nGive a path in a directory that exists and that you may write to", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

/// An open output.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Opens or makes the file; what is in it stays until something is written.
    pub(super) fn open(path: &Path) -> Result<Self, OutputError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        file.map(|file| Self { path: path.to_owned(), file })
            .map_err(|source| OutputError { path: path.to_owned(), source })
    }

    /// Replaces what the file holds.
    pub(super) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let failed = |source| OutputError { path: self.path.clone(), source };
        // A pipe or /dev/stdout cannot be cut or wound back, and needs not.
        let _ = self.file.set_len(0);
        let _ = self.file.rewind();
        let mut buffered = io::BufWriter::new(&self.file);
        write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }
}

/// The files that a report goes to, opened.
#[derive(Debug)]
pub(super) struct Exports {
    files: Vec<(Format, Output)>,
    metric: Metric,
}

impl Exports {
    pub(super) fn open(exports: &cli::Exports) -> Result<Self, OutputError> {
        let open = |(format, path): &(Format, PathBuf)| Ok((*format, Output::open(path)?));
        let files = exports.files.iter().map(open).collect::<Result<_, OutputError>>()?;
        Ok(Self { files, metric: exports.metric })
    }

    /// Writes all of them, whatever becomes of one: the error is the first.
    pub(super) fn write(&mut self, report: &Report) -> Result<(), OutputError> {
        let metric = self.metric;
        let mut written = Ok(());
        for (format, output) in &mut self.files {
            let exporter: &dyn Exporter = match format {
                Format::Json => &Json,
                Format::Folded => &Folded { metric },
                Format::Flamegraph => &Flamegraph { metric },
                Format::Pprof => &Pprof { metric },
                Format::Speedscope => &Speedscope { metric },
                Format::HeapProfile => &HeapProfile { metric },
                Format::Html => &Html { metric },
            };
            written = written.and(output.write(|out| exporter.write(report, out)));
        }
        written
    }
}

/// Writes to stdout; a reader that went away (`| head`) is no error.
pub(super) fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_said_with_its_path() {
        let error = Output::open(Path::new("/no/such/directory/out.json")).unwrap_err().to_string();
        assert!(error.contains("/no/such/directory/out.json"), "{error}");
    }

    #[test]
    fn what_was_in_the_file_stays_until_the_report_is_written() {
        let path = std::env::temp_dir().join(format!("leaktrace-output-{}", std::process::id()));
        std::fs::write(&path, "an older and longer report").unwrap();
        let mut output = Output::open(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "an older and longer report");
        output.write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_second_report_takes_the_first_one_s_place_from_its_first_byte_on() {
        let path = std::env::temp_dir().join(format!("leaktrace-output-twice-{}", std::process::id()));
        let mut output = Output::open(&path).unwrap();
        output.write(|out| out.write_all(b"the first")).unwrap();
        output.write(|out| out.write_all(b"second")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        std::fs::remove_file(path).unwrap();
    }
}
