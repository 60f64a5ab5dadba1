//! What a heap holds by size, and what grew between looks at it. The JSON's schema is `schema/census-v1.json`.

use std::{collections::BTreeMap, io, io::Write};

use serde::Serialize;

use super::amount;
use crate::heap_reader::{Amount, Census, Look, SizeClass};

/// Of the JSON schema.
const VERSION: u32 = 1;

/// A look at a heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Nanoseconds since the first.
    pub at_ns: u64,
    /// Nanoseconds that it took.
    pub took_ns: u64,
    pub census: Census,
    pub look: Look,
}

/// Whose heap it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub pid: u32,
    pub comm: String,
    /// Of glibc; a static program does not say it.
    pub version: Option<String>,
}

/// Looks at one heap, in their order: the first and the latest two are kept.
#[derive(Clone, Debug)]
pub struct Course {
    subject: Subject,
    first: Seen,
    before: Option<Seen>,
    last: Seen,
    looks: u64,
    /// Looks that found more bytes of a size than the one before.
    grew: BTreeMap<SizeClass, u64>,
}

/// A size, and how much of it there is now.
struct Row {
    class: SizeClass,
    now: Amount,
    before: Amount,
    first: Amount,
    grew: u64,
}

impl Course {
    #[must_use]
    pub fn new(subject: Subject, first: Seen) -> Self {
        Self { subject, last: first.clone(), first, before: None, looks: 1, grew: BTreeMap::new() }
    }

    pub fn add(&mut self, seen: Seen) {
        for (class, amount) in &seen.census.in_use {
            if amount.bytes > of(&self.last.census, *class).bytes {
                *self.grew.entry(*class).or_default() += 1;
            }
        }
        self.before = Some(std::mem::replace(&mut self.last, seen));
        self.looks += 1;
    }

    /// The latest look, with what it found to have grown first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, top: usize, out: &mut dyn Write) -> io::Result<()> {
        let Subject { pid, comm, version } = &self.subject;
        let version =
            version.as_ref().map_or_else(|| "static glibc".to_owned(), |version| format!("glibc {version}"));
        let Seen { census, look, at_ns, took_ns } = &self.last;
        let total = census.total();
        write!(out, "{comm} (pid {pid}, {version}): {} in use in ", amount::bytes(total.bytes))?;
        writeln!(out, "{}, read in {}", amount::counted(total.chunks, "chunk"), amount::pause(*took_ns))?;
        if let Some(before) = &self.before {
            let since = |seen: &Seen| {
                let then = seen.census.total();
                let chunks = signed(total.chunks, then.chunks, amount::count);
                let ago = amount::duration(at_ns - seen.at_ns);
                format!("{} and {chunks} chunks in {ago}", signed(total.bytes, then.bytes, amount::bytes))
            };
            write!(out, "  since the last look {}", since(before))?;
            if self.looks > 2 {
                write!(out, "; since the first of {} {}", self.looks, since(&self.first))?;
            }
            writeln!(out)?;
        }
        let free = [
            ("in threads' lists", census.in_tcaches),
            ("in fastbins", census.in_fastbins),
            ("in bins", census.in_bins),
            ("not given out yet", census.top),
        ];
        let free = free.map(|(what, found)| format!("{} {what}", amount::bytes(found.bytes)));
        writeln!(out, "  free: {}", free.join(", "))?;
        write!(out, "  {}, ", amount::counted(look.arenas, "arena"))?;
        write!(out, "lists of {}, ", amount::counted(look.tcaches, "thread"))?;
        writeln!(out, "{} with mappings of their own", amount::counted(look.mapped_found, "block"))?;
        write_doubts(look, out)?;
        let rows = self.rows();
        if !rows.is_empty() {
            let changes = if self.looks > 1 { "  since the last and the first look" } else { "" };
            writeln!(out, "  {:>19}  {:>11} {:>11}{changes}", "chunk size", "in use", "chunks")?;
        }
        for row in rows.iter().take(top) {
            self.write_row(row, out)?;
        }
        if rows.len() > top {
            writeln!(out, "    ({} more sizes)", rows.len() - top)?;
        }
        Ok(())
    }

    fn write_row(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        let Row { class, now, before, first, grew } = row;
        let mark = if now.bytes > before.bytes { '+' } else { ' ' };
        let size = match class.from == class.to {
            true => amount::count(class.to),
            false => format!("{}-{}", amount::count(class.from), amount::count(class.to)),
        };
        write!(
            out,
            "  {mark}{size:>18}  {:>11} {:>11}",
            amount::bytes(now.bytes),
            amount::count(now.chunks)
        )?;
        if self.looks > 1 {
            let change = |then: &Amount| signed(now.bytes, then.bytes, amount::bytes);
            write!(out, "  {:>11} {:>11}", change(before), change(first))?;
            if *grew > 0 {
                write!(out, "  grew in {grew} of {}", self.looks - 1)?;
            }
        }
        writeln!(out)
    }

    /// By growth since the first look, then by size.
    fn rows(&self) -> Vec<Row> {
        let before = self.before.as_ref().unwrap_or(&self.last);
        let row = |(class, now): (&SizeClass, &Amount)| Row {
            class: *class,
            now: *now,
            before: of(&before.census, *class),
            first: of(&self.first.census, *class),
            grew: self.grew.get(class).copied().unwrap_or(0),
        };
        let mut rows: Vec<Row> = self.last.census.in_use.iter().map(row).collect();
        rows.retain(|row| row.now.chunks > 0);
        let growth = |row: &Row| row.now.bytes.saturating_sub(row.first.bytes);
        rows.sort_by(|a, b| (growth(b), b.now.bytes, a.class).cmp(&(growth(a), a.now.bytes, b.class)));
        rows
    }

    /// The first and the last look.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let growing = self.rows().into_iter().filter(|row| row.now.bytes > row.first.bytes);
        let document = Document {
            schema: "leaktrace-census",
            version: VERSION,
            leaktrace: env!("CARGO_PKG_VERSION"),
            pid: self.subject.pid,
            comm: &self.subject.comm,
            glibc: self.subject.version.as_deref(),
            looks: self.looks,
            growing: growing
                .map(|row| Grown {
                    from: row.class.from,
                    to: row.class.to,
                    bytes: row.now.bytes - row.first.bytes,
                    looks: row.grew,
                })
                .collect(),
            first: shown(&self.first),
            last: shown(&self.last),
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }
}

/// What may be missing.
fn write_doubts(look: &Look, out: &mut dyn Write) -> io::Result<()> {
    if look.unwalked > 0 {
        let bytes = amount::bytes(look.unwalked);
        writeln!(
            out,
            "  warning: {bytes} of arenas not read (behind a gap, or changing too fast): not counted"
        )?;
    }
    if look.mapped_found != look.mapped {
        let (found, all) = (amount::count(look.mapped_found), amount::count(look.mapped));
        writeln!(
            out,
            "  warning: malloc counts {all} blocks with mappings of their own, {found} were found"
        )?;
    }
    if look.torn_lists > 0 {
        let lists = amount::counted(look.torn_lists, "list");
        writeln!(
            out,
            "  warning: {lists} of free blocks kept changing: some free blocks may be counted as in use"
        )?;
    }
    Ok(())
}

fn of(census: &Census, class: SizeClass) -> Amount {
    census.in_use.get(&class).copied().unwrap_or_default()
}

/// With its sign; nothing is `0`.
fn signed(now: u64, then: u64, show: impl Fn(u64) -> String) -> String {
    match now.cmp(&then) {
        std::cmp::Ordering::Less => format!("-{}", show(then - now)),
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", show(now - then)),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: u32,
    leaktrace: &'static str,
    pid: u32,
    comm: &'a str,
    glibc: Option<&'a str>,
    looks: u64,
    growing: Vec<Grown>,
    first: Shown,
    last: Shown,
}

#[derive(Serialize)]
struct Grown {
    from: u64,
    to: u64,
    bytes: u64,
    looks: u64,
}

#[derive(Serialize)]
struct Shown {
    at_ns: u64,
    took_ns: u64,
    in_use: Counted,
    mapped: Counted,
    free: Free,
    sizes: Vec<Size>,
    coverage: Coverage,
}

#[derive(Serialize)]
struct Counted {
    chunks: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Free {
    tcaches: Counted,
    fastbins: Counted,
    bins: Counted,
    top: Counted,
}

#[derive(Serialize)]
struct Size {
    from: u64,
    to: u64,
    chunks: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Coverage {
    arenas: u64,
    tcaches: u64,
    walked_bytes: u64,
    unwalked_bytes: u64,
    mapped_counted: u64,
    mapped_found: u64,
    torn_lists: u64,
    retries: u64,
}

fn shown(seen: &Seen) -> Shown {
    let counted = |amount: Amount| Counted { chunks: amount.chunks, bytes: amount.bytes };
    let Census { in_use, mapped, in_tcaches, in_fastbins, in_bins, top } = &seen.census;
    let Look { arenas, tcaches, walked, unwalked, mapped: all, mapped_found, torn_lists, retries } =
        seen.look;
    let size = |(class, amount): (&SizeClass, &Amount)| Size {
        from: class.from,
        to: class.to,
        chunks: amount.chunks,
        bytes: amount.bytes,
    };
    Shown {
        at_ns: seen.at_ns,
        took_ns: seen.took_ns,
        in_use: counted(seen.census.total()),
        mapped: counted(*mapped),
        free: Free {
            tcaches: counted(*in_tcaches),
            fastbins: counted(*in_fastbins),
            bins: counted(*in_bins),
            top: counted(*top),
        },
        sizes: in_use.iter().map(size).collect(),
        coverage: Coverage {
            arenas,
            tcaches,
            walked_bytes: walked,
            unwalked_bytes: unwalked,
            mapped_counted: all,
            mapped_found,
            torn_lists,
            retries,
        },
    }
}

#[cfg(test)]
mod tests;
