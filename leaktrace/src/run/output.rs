//! Where reports go. Files are opened before tracing starts, so that an hour's trace is not lost to a typo.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
    time::Instant,
};

use thiserror::Error;

use super::share::Share;
use crate::{
    cli::{self, Format},
    export::{Flamegraph, Folded, HeapProfile, History, Html, Metric, Pprof, Speedscope},
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
    /// Whether what stands at the path is a file that was put there as a whole.
    is_replaced: bool,
}

impl Output {
    /// Opens or makes the file; what is in it stays until something is written.
    pub(super) fn open(path: &Path) -> Result<Self, OutputError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        file.map(|file| Self { path: path.to_owned(), file, is_replaced: false })
            .map_err(|source| OutputError { path: path.to_owned(), source })
    }

    /// Replaces what the file holds; where it was put there as a whole, so is this.
    pub(super) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        if self.is_replaced && self.is_own_file() {
            return self.replace(write);
        }
        self.empty();
        buffered(&self.file, write).map_err(|source| OutputError::new(&self.path, source))
    }

    /// Nothing is in it any more. A pipe or /dev/stdout cannot be cut or wound back, and needs not.
    pub(super) fn empty(&mut self) {
        self.cut(0);
    }

    fn cut(&mut self, length: u64) {
        let _ = self.file.set_len(length);
        let _ = self.file.seek(SeekFrom::Start(length));
    }

    /// Adds to what the file holds, all of it or nothing.
    pub(super) fn add(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let whole = self.file.stream_position().unwrap_or_default();
        let added = buffered(&self.file, write);
        if added.is_err() {
            self.cut(whole);
        }
        added.map_err(|source| OutputError::new(&self.path, source))
    }

    /// Whether the path is the name, and the only one, of the file that was opened: a link, a device or a pipe is
    /// written to, and not replaced.
    fn is_own_file(&self) -> bool {
        let (Ok(named), Ok(open)) = (fs::symlink_metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        named.is_file() && named.nlink() == 1 && (named.dev(), named.ino()) == (open.dev(), open.ino())
    }

    /// Puts a new file in its place, of the same owner and mode: whoever reads it has the one or the other, whole, and so it
    /// stays if leaktrace is ended by force meanwhile.
    fn replace(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), OutputError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(format!(".leaktrace-{}", std::process::id()));
        let beside = self.path.with_file_name(name);
        let made = self.file.metadata().and_then(|old| {
            let file =
                OpenOptions::new().write(true).create_new(true).mode(old.mode() & 0o7777).open(&beside)?;
            let written = fchown(&file, Some(old.uid()), Some(old.gid()))
                .and_then(|()| file.set_permissions(old.permissions()))
                .and_then(|()| buffered(&file, write))
                .and_then(|()| fs::rename(&beside, &self.path));
            if written.is_err() {
                let _ = fs::remove_file(&beside);
            }
            written.map(|()| file)
        });
        self.file = made.map_err(|source| OutputError::new(&self.path, source))?;
        self.is_replaced = true;
        Ok(())
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }
}

fn buffered(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(file);
    let written = write(&mut buffered).and_then(|()| buffered.flush());
    // What could not be written is not tried again when this is dropped.
    drop(buffered.into_parts());
    written
}

/// The files that a report goes to, opened.
#[derive(Debug)]
pub(super) struct Exports {
    files: Vec<(Format, Output)>,
    metric: Metric,
    /// Of a recording, for pages.
    pub(super) history: Option<History>,
    share: Share,
    /// Whether it was said that one could not be written while tracing.
    failure_said: bool,
}

impl Exports {
    pub(super) fn open(exports: &cli::Exports) -> Result<Self, OutputError> {
        let open = |(format, path): &(Format, PathBuf)| Ok((*format, Output::open(path)?));
        let files = exports.files.iter().map(open).collect::<Result<_, OutputError>>()?;
        Ok(Self { files, metric: exports.metric, history: None, share: Share::new(), failure_said: false })
    }

    /// Whether one of them is a page.
    pub(super) fn have_page(&self) -> bool {
        self.files.iter().any(|(format, _)| *format == Format::Html)
    }

    /// Whether it is time to write what is known so far to a file.
    pub(super) fn are_due(&self) -> bool {
        self.share.is_due() && self.files.iter().any(|(_, output)| output.is_own_file())
    }

    /// Writes what is known so far to those that are files, each at once; `begun` is when making the report began. What cannot
    /// be written is said once: tracing goes on, and at its end it is tried again.
    pub(super) fn write_so_far(&mut self, report: &Report, begun: Instant) {
        let Self { files, metric, history, failure_said, .. } = self;
        for (format, output) in files.iter_mut().filter(|(_, output)| output.is_own_file()) {
            if let Err(error) = output.replace(|out| write(*format, *metric, history.as_ref(), report, out))
                && !std::mem::replace(failure_said, true)
            {
                crate::say!("{error}\nTracing goes on, and it is tried again");
            }
        }
        self.share.spent_since(begun);
    }

    /// Writes all of them, whatever becomes of one: the error is the first.
    pub(super) fn write(&mut self, report: &Report) -> Result<(), OutputError> {
        let Self { files, metric, history, .. } = self;
        let mut written = Ok(());
        for (format, output) in files {
            written = written.and(output.write(|out| write(*format, *metric, history.as_ref(), report, out)));
        }
        written
    }
}

fn write(
    format: Format,
    metric: Metric,
    history: Option<&History>,
    report: &Report,
    out: &mut dyn Write,
) -> io::Result<()> {
    let exporter: &dyn Exporter = match format {
        Format::Json => &Json,
        Format::Folded => &Folded { metric },
        Format::Flamegraph => &Flamegraph { metric },
        Format::Pprof => &Pprof { metric },
        Format::Speedscope => &Speedscope { metric },
        Format::HeapProfile => &HeapProfile { metric },
        Format::Html => &Html { metric, history },
    };
    exporter.write(report, out)
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
        fs::write(&path, "an older and longer report").unwrap();
        let mut output = Output::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "an older and longer report");
        output.write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_second_report_takes_the_first_one_s_place_from_its_first_byte_on() {
        let path = std::env::temp_dir().join(format!("leaktrace-output-twice-{}", std::process::id()));
        let mut output = Output::open(&path).unwrap();
        output.write(|out| out.write_all(b"the first")).unwrap();
        output.write(|out| out.write_all(b"second")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        fs::remove_file(path).unwrap();
    }

    /// A folder of its own.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("leaktrace-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn report() -> Report {
        Report::new(
            &crate::ledger::Ledger::new(4096),
            &crate::symbolize::Names::default(),
            crate::report::Options::default(),
        )
    }

    fn json_at(path: PathBuf) -> Exports {
        Exports::open(&cli::Exports { files: vec![(Format::Json, path)], metric: Metric::default() }).unwrap()
    }

    #[test]
    fn what_is_known_so_far_takes_the_file_s_place_as_a_whole_and_so_does_the_end() {
        let folder = folder("so-far");
        let path = folder.join("report.json");
        fs::write(&path, "an older report").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        let mut reader = File::open(&path).unwrap();
        let mut exports = json_at(path.clone());
        assert!(exports.are_due());
        exports.write_so_far(&report(), Instant::now());
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "an older report", "who has it open reads on");
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.ends_with("}\n"), "{written}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let so_far = fs::metadata(&path).unwrap().ino();
        exports.write(&report()).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), so_far);
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn links_and_devices_are_written_to_at_the_end_only() {
        let folder = folder("links");
        let (target, link, other) = (folder.join("target"), folder.join("link"), folder.join("other"));
        fs::write(&target, "older").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut exports = json_at(link.clone());
        assert!(!exports.are_due());
        exports.write_so_far(&report(), Instant::now());
        assert_eq!(fs::read_to_string(&target).unwrap(), "older");
        exports.write(&report()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::read(&target).unwrap().len() > 10);
        fs::hard_link(&target, &other).unwrap();
        assert!(!json_at(target).are_due(), "its other name would keep the old one");
        assert!(!json_at("/dev/null".into()).are_due());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_could_not_be_added_leaves_nothing_of_it() {
        let path = std::env::temp_dir().join(format!("leaktrace-lines-{}", std::process::id()));
        let mut output = Output::open(&path).unwrap();
        output.add(|out| out.write_all(b"one\n")).unwrap();
        let failed = output.add(|out| out.write_all(&[b'-'; 100_000]).and(Err(io::Error::other("full"))));
        assert!(failed.is_err());
        output.add(|out| out.write_all(b"two\n")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::remove_file(path).unwrap();
    }
}
