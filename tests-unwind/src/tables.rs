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
    /// Of that, how long this thread had a CPU: what else runs on the machine does not count.
    pub busy: Duration,
}

/// None where the kernel does not say.
fn busy() -> Option<Duration> {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    said.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Makes them as the agent does.
pub fn make(file: &Path) -> Result<Made> {
    let (started, busy_before) = (Instant::now(), busy());
    let file = File::open(file)?;
    let data = ReadCache::new(&file);
    let rows = rows::read(&object::File::parse(&data)?, &file)?;
    let pages = Pages::cut(&rows)?;
    let took = started.elapsed();
    let busy = busy().zip(busy_before).map_or(took, |(after, before)| after - before);
    Ok(Made { rows: rows.rows.len(), bytes: pages.bytes(), took, busy })
}
