//! A recording while it is written (`--record`).

use std::{
    fs::File,
    io::{self, BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    Failure,
    output::{Output, OutputError},
    share::Share,
};
use crate::{
    recording::Writer,
    report::{Report, duration},
};

pub(super) struct Recording {
    path: PathBuf,
    file: File,
    writer: Writer,
    /// Bytes of whole moments.
    whole: u64,
    /// Of the last whole moment, from when tracing began.
    until_ns: u64,
    share: Share,
    /// The first error, which was said.
    failed: Option<io::Error>,
}

impl Recording {
    /// Opens or makes the file; what is in it stays until tracing begins.
    pub(super) fn open(path: &Path) -> Result<Self, OutputError> {
        let file = Output::open(path)?.into_file();
        let writer = Writer::new().map_err(|source| OutputError::new(path, source))?;
        let (path, share) = (path.to_owned(), Share::new());
        Ok(Self { path, file, writer, whole: 0, until_ns: 0, share, failed: None })
    }

    /// What the file held is gone: if this trace is ended by force before its first moment, nothing older is taken for it.
    pub(super) fn begin(&mut self) {
        self.cut();
    }

    /// Whether it is time for a moment.
    pub(super) fn is_due(&self) -> bool {
        self.share.is_due()
    }

    /// Adds what the report has beyond the one before; `begun` is when making that report began. An error is said once, and
    /// the next moment is tried all the same: there may be room then.
    pub(super) fn moment(&mut self, report: &Report, begun: Instant, is_last: bool) {
        match self.write(report, is_last) {
            Ok(()) => self.until_ns = report.traced_ns,
            Err(error) => {
                self.cut();
                if self.failed.is_none() {
                    self.say(&error);
                    self.failed = Some(error);
                }
            }
        }
        self.share.spent_since(begun);
    }

    /// Whether every moment was written.
    pub(super) fn end(self) -> Result<(), Failure> {
        let path = self.path;
        self.failed.map_or(Ok(()), |source| Err(Failure::Recording { path, source }))
    }

    fn write(&mut self, report: &Report, is_last: bool) -> io::Result<()> {
        let mut out = BufWriter::new(&self.file);
        let written = self.writer.moment(report, is_last, &mut out).and_then(|()| out.flush());
        // What could not be written is not tried again when this is dropped.
        drop(out.into_parts());
        written?;
        self.whole = self.file.stream_position().unwrap_or_default();
        Ok(())
    }

    /// Leaves whole moments only. A pipe or device cannot be cut or wound back.
    fn cut(&mut self) {
        let _ = self.file.set_len(self.whole);
        let _ = self.file.seek(SeekFrom::Start(self.whole));
    }

    fn say(&self, error: &io::Error) {
        let path = self.path.display();
        let readable = match self.until_ns {
            0 => "nothing of it is readable so far".to_owned(),
            until => {
                format!(
                    "it is readable until {} after tracing began (leaktrace report {path})",
                    duration(until)
                )
            }
        };
        crate::say!(
            "cannot write {path}: {error}\n  {readable}; tracing goes on, and what comes is written once it can be. \
             Make room there, or trace to another disk"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{ledger::Ledger, report::Options, symbolize::Names};

    #[test]
    fn a_full_disk_is_no_reason_to_stop_and_is_told_at_the_end() {
        // Writing to it fails as on a full disk. <https://man7.org/linux/man-pages/man4/full.4.html>
        let mut recording = Recording::open(Path::new("/dev/full")).unwrap();
        recording.begin();
        let report = Report::new(&Ledger::new(4096), &Names::default(), Options::default());
        recording.moment(&report, Instant::now(), false);
        recording.moment(&report, Instant::now(), true);
        let error = recording.end().unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
        assert_eq!(error.exit(), crate::cli::exit::Exit::Failure);
    }

    #[test]
    fn nothing_older_is_taken_for_a_trace_without_a_moment() {
        let path = std::env::temp_dir().join(format!("leaktrace-recording-{}", std::process::id()));
        fs::write(&path, "an older recording").unwrap();
        let mut recording = Recording::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"an older recording", "it may not come to tracing");
        recording.begin();
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::remove_file(path).unwrap();
    }
}
