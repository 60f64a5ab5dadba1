//! The difference as a person reads it.

use std::io::{self, Write};

use super::{Compared, Comparison, Judged, Place, Side};
use crate::report::{
    Text, Totals,
    amount::{bytes, counted, duration, signed, signed_count},
    build::JAVASCRIPT,
    text::{Styles, printable},
};

const INDENT: &str = "    ";
/// Innermost frames of a stack.
const FRAMES: usize = 12;

pub(super) fn write(comparison: &Comparison, style: &Text, out: &mut dyn Write) -> io::Result<()> {
    let Comparison { before, after, change, javascript_change, stacks, verdicts, .. } = comparison;
    let styles = style.styles();
    side("before", before, out)?;
    side("after", after, out)?;
    let amount = styles.amount;
    writeln!(
        out,
        "change: {amount}{}{amount:#} in {}",
        signed(change.bytes),
        signed_count(change.blocks, "block")
    )?;
    if javascript_change.bytes != 0 {
        writeln!(out, "of JavaScript, by samples: {amount}{}{amount:#}", signed(javascript_change.bytes))?;
    }
    for one in verdicts {
        judged(one, &styles, out)?;
    }
    if verdicts.is_empty() {
        writeln!(out, "\nno leak was or is found")?;
    }
    let shrank = stacks.iter().filter(|one| one.change.bytes < 0).count();
    let (grew, fell) = stacks.split_at(stacks.len() - shrank);
    listed("grew", grew.iter(), style, &styles, out)?;
    listed("shrank", fell.iter().rev(), style, &styles, out)?;
    if stacks.is_empty() {
        writeln!(out, "\nno stack holds more or less than before")?;
    }
    Ok(())
}

fn side(name: &str, side: &Side, out: &mut dyn Write) -> io::Result<()> {
    let who: Vec<String> = side
        .processes
        .iter()
        .take(3)
        .map(|who| format!("{} (pid {})", printable(&who.comm), who.pid))
        .collect();
    let more = match side.processes.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let Totals { live_bytes, live_blocks, .. } = side.totals;
    writeln!(
        out,
        "{name}: {}{more}, traced for {}: {} live in {}",
        who.join(", "),
        duration(side.traced_ns),
        bytes(live_bytes),
        counted(live_blocks, "block")
    )
}

fn judged(judged: &Judged, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let Styles { faint, warning, amount } = styles;
    let (style, what, text) = match (&judged.before, &judged.after) {
        (None, Some(now)) => (warning, "new".to_owned(), &now.text),
        (Some(was), Some(now)) if was.verdict != now.verdict => {
            (warning, format!("was {}", was.verdict), &now.text)
        }
        (Some(_), Some(now)) => (faint, "as before".to_owned(), &now.text),
        (Some(was), None) => (amount, "gone".to_owned(), &was.text),
        (None, None) => return Ok(()),
    };
    writeln!(out, "\n{style}{what}{style:#}: {} {faint}[{}]{faint:#}", printable(text), judged.heap)
}

fn listed<'a>(
    what: &str,
    stacks: impl ExactSizeIterator<Item = &'a Compared>,
    style: &Text,
    styles: &Styles,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (all, mut rest) = (stacks.len(), 0);
    if all > 0 {
        writeln!(out, "\n{what}:")?;
    }
    for (at, one) in stacks.enumerate() {
        if at < style.top { stack(at + 1, one, style, styles, out)? } else { rest += one.change.bytes }
    }
    if all > style.top {
        let more = counted((all - style.top) as u64, "more stack");
        writeln!(out, "\nand {more} that {what}: {}", signed(rest))?;
    }
    Ok(())
}

fn stack(rank: usize, one: &Compared, style: &Text, styles: &Styles, out: &mut dyn Write) -> io::Result<()> {
    let Styles { amount, faint, .. } = styles;
    let Compared { path, change, before, after } = one;
    let live =
        |totals: &Totals| format!("{} in {}", bytes(totals.live_bytes), counted(totals.live_blocks, "block"));
    write!(
        out,
        "\n#{rank}  {amount}{}{amount:#} in {}",
        signed(change.bytes),
        signed_count(change.blocks, "block")
    )?;
    write!(out, "  (before {}, after {})", live(before), live(after))?;
    if let Some(function) = &path.function {
        write!(out, "  via {}", printable(function))?;
    }
    if path.kind == JAVASCRIPT {
        write!(out, "  JavaScript, by samples")?;
    }
    if let Some(owner) = &path.owner {
        write!(out, "  {owner}")?;
    }
    writeln!(out)?;
    for frame in path.frames.iter().take(FRAMES) {
        let (function, place) = words(frame);
        let room = style.width.saturating_sub(INDENT.len() + function.chars().count() + 2);
        let place = if place.chars().count() > room { String::new() } else { place };
        writeln!(out, "{INDENT}{}", format!("{function}  {faint}{place}{faint:#}").trim_end())?;
    }
    if path.frames.len() > FRAMES {
        let more = counted((path.frames.len() - FRAMES) as u64, "frame");
        writeln!(out, "{INDENT}{faint}and {more} further out (--json){faint:#}")?;
    }
    if path.frames.is_empty() {
        writeln!(out, "{INDENT}(no stack)")?;
    }
    Ok(())
}

fn words(place: &Place) -> (String, String) {
    let Place { function, module, offset, file, line } = place;
    let module = || module.as_deref().unwrap_or("unknown");
    let name = match (function, offset) {
        (Some(function), _) => function.clone(),
        (None, Some(offset)) => format!("[{}+{offset}]", module()),
        (None, None) => format!("[{}]", module()),
    };
    let at = match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) if function.is_some() => format!("({})", module()),
        (None, _) => String::new(),
    };
    (printable(&name), printable(&at))
}
