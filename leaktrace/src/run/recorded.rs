//! What is made of recordings: nothing is traced, and nothing but the files is looked at.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    Failure, judging,
    output::{Exports, Output, to_stdout},
    reports::{print, style},
};
use crate::{
    cli::{DiffPlan, ReportPlan, Shown},
    export::{History, flamegraph::differential},
    recording::{Reader, Rest, Unreadable},
    report::{Comparison, Moments, Report},
};

/// Reports what was recorded, as it was reported then.
///
/// # Errors
/// It cannot be read or a report cannot be written; or it is damaged, and what is whole of it is printed first.
pub fn report(plan: &ReportPlan) -> Result<(), Failure> {
    let mut exports = Exports::open(&plan.output.exports)?;
    if plan.shown == Shown::Moments {
        return moments(&plan.file);
    }
    let (report, rest) = read(&plan.file, plan.shown)?;
    if exports.have_page() {
        exports.history = Some(history(&plan.file, &report)?);
    }
    let printed = if plan.output.quiet { Ok(()) } else { print(&plan.output, &report) };
    let written = exports.write(&report).map_err(Failure::from);
    let whole = tell(&plan.file, rest);
    printed.and(written).and(whole).and_then(|()| judging::verdict(&report, plan.fail_on))
}

/// Says what changed from one recording's end to another's.
///
/// # Errors
/// As [`report`].
pub fn diff(plan: &DiffPlan) -> Result<(), Failure> {
    let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose();
    let (mut json, mut flamegraph) = (open(&plan.json)?, open(&plan.flamegraph)?);
    let ((before, before_rest), (after, after_rest)) =
        (read(&plan.before, Shown::End)?, read(&plan.after, Shown::End)?);
    let comparison = Comparison::between(&before, &after);
    let text = style(&plan.output);
    let printed = to_stdout(|out| comparison.write_text(&text, out))
        .map_err(|source| Failure::Io { doing: "printing the difference", source });
    let written = json.as_mut().map_or(Ok(()), |json| json.write(|out| comparison.write_json(out)));
    let drawn = flamegraph
        .as_mut()
        .map_or(Ok(()), |svg| svg.write(|out| differential(&before, &after, plan.metric, out)));
    let whole = tell(&plan.before, before_rest).and(tell(&plan.after, after_rest));
    printed.and(written.and(drawn).map_err(Failure::from)).and(whole)
}

/// The report of one moment, and how the file goes on after its last whole one.
fn read(path: &Path, shown: Shown) -> Result<(Report, Rest), Failure> {
    let failed = |why| Failure::Recorded { path: path.to_owned(), why };
    let mut reader = open(path)?;
    let latest = match shown {
        Shown::At(at) => u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        Shown::End | Shown::Moments => u64::MAX,
    };
    while let Some(next) = reader.peek().map_err(failed)? {
        if next > latest {
            break;
        }
        reader.next_moment().map_err(failed)?;
    }
    let rest = reader.rest();
    match (reader.report(), reader.peek().map_err(failed)?) {
        (Some(report), _) => Ok((report, rest)),
        (None, first) => {
            Err(Failure::TooEarly { path: path.to_owned(), first_ns: first.unwrap_or_default() })
        }
    }
}

/// A page is 524 dots wide where it draws; each takes a report to be made.
const DRAWN: usize = 250;

/// How memory went up to this report of the recording.
fn history(path: &Path, last: &Report) -> Result<History, Failure> {
    let failed = |why| Failure::Recorded { path: path.to_owned(), why };
    let is_wanted = |at: u64| at <= last.traced_ns;
    let mut reader = open(path)?;
    let mut count = 0_usize;
    while reader.next_moment().map_err(failed)?.is_some_and(is_wanted) {
        count += 1;
    }
    let each = count.div_ceil(DRAWN).max(1);
    let (mut reader, mut history) = (open(path)?, History::up_to(last));
    // The last one is among them.
    for number in (0..count).rev() {
        reader.next_moment().map_err(failed)?;
        if number % each == 0 {
            reader.report().iter().for_each(|report| history.add(report));
        }
    }
    Ok(history)
}

fn moments(path: &Path) -> Result<(), Failure> {
    let failed = |why| Failure::Recorded { path: path.to_owned(), why };
    let mut reader = open(path)?;
    let mut moments = Moments::default();
    while reader.next_moment().map_err(failed)?.is_some() {
        reader.report().iter().for_each(|report| moments.add(report));
    }
    to_stdout(|out| moments.write(out))
        .map_err(|source| Failure::Io { doing: "printing the moments", source })?;
    tell(path, reader.rest())
}

fn open(path: &Path) -> Result<Reader<File>, Failure> {
    let failed = |why| Failure::Recorded { path: path.to_owned(), why };
    let file = File::open(path).map_err(|error| failed(Unreadable::Io(error)))?;
    Reader::new(file).map_err(failed)
}

/// Says what of the file is not in the report. Only damage is a failure: who ends leaktrace by force knows it.
fn tell(path: &Path, rest: Rest) -> Result<(), Failure> {
    match rest {
        Rest::Ended => Ok(()),
        Rest::Unended | Rest::Cut { .. } => {
            crate::say!("{}: {rest}; reported is its last whole moment", path.display());
            Ok(())
        }
        Rest::Damaged { .. } => Err(Failure::Damaged { path: path.to_owned(), rest }),
    }
}
