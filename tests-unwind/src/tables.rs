//! The tables of one file, for their size and the time that they take.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use leaktrace::unwind::{page::Pages, rows};
use object::ReadCache;

pub struct Made {
    pub rows: usize,
    pub bytes: usize,
    pub took: Duration,
}

/// Makes them as the agent does.
pub fn make(file: &Path) -> Result<Made> {
    let started = Instant::now();
    let data = ReadCache::new(File::open(file)?);
    let rows = rows::read(&object::File::parse(&data)?)?;
    let pages = Pages::cut(&rows);
    Ok(Made { rows: rows.rows.len(), bytes: pages.bytes(), took: started.elapsed() })
}
