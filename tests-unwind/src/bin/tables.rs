//! How large the tables of binaries are, and how fast they are made.
//!
//! tables [FILE...]: node's executable where none is named.

use std::{collections::BTreeMap, fs::File, time::Instant};

use anyhow::Result;
use leaktrace::unwind::{page::Pages, rows};
use leaktrace_common::unwind::Kind;
use object::ReadCache;

fn main() -> Result<()> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files.push("/usr/bin/node".into());
    }
    for file in files {
        let started = Instant::now();
        let opened = File::open(&file)?;
        let data = ReadCache::new(&opened);
        let rows = match object::File::parse(&data)
            .map_err(rows::RowsError::from)
            .and_then(|file| rows::read(&file, &opened))
        {
            Ok(rows) => rows,
            Err(error) => {
                println!("{file}: {error}");
                continue;
            }
        };
        let pages = Pages::cut(&rows)?;
        let took = started.elapsed();
        let mut unsupported: BTreeMap<i32, usize> = BTreeMap::new();
        for row in &rows.rows {
            let rule = rows.rules[row.rule as usize];
            if rule.kind() == Kind::Unsupported as u32 {
                *unsupported.entry(rule.post).or_default() += 1;
            }
        }
        println!(
            "{file}: {} rows, {} rules, {} pages, most rows of a page {}, {} KiB in {took:?}; malformed {}, unsupported \
             rows by reason {unsupported:?}",
            rows.rows.len(),
            rows.rules.len(),
            pages.counts.len(),
            pages.counts.iter().max().unwrap_or(&0),
            pages.bytes() / 1024,
            rows.malformed,
        );
    }
    Ok(())
}
