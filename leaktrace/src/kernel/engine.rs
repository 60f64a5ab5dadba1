//! The kernel side's tables of JavaScript engines.

use leaktrace_common::{
    process::ProcessId,
    v8::{self, FunctionKey, FunctionOf, SAMPLES, Sample, SampleState, Sighting},
};

use super::{
    Kernel, LoadError,
    load::{removed, table_error},
    multi::Multi,
    tables,
};

impl Kernel {
    /// What lives of the samples of JavaScript heaps. One may change while it is read, and is then one collection old.
    pub(super) fn samples(&self) -> Result<Vec<Sample>, LoadError> {
        let used =
            tables::read::<u64>(self.fd("V8_USED")?, 0).map_err(|source| table_error("V8_USED", source))?;
        if used == 0 {
            return Ok(Vec::new());
        }
        let all = tables::read_array::<Sample>(self.fd("V8_SAMPLES")?, SAMPLES)
            .map_err(|source| table_error("V8_SAMPLES", source))?;
        Ok(all.into_iter().filter(|sample| sample.state != SampleState::Free as u32).collect())
    }

    /// Gives the samples of processes that are gone free for others.
    pub fn forget_samples(&self, of: impl Fn(ProcessId) -> bool) -> Result<(), LoadError> {
        let samples = self.fd("V8_SAMPLES")?;
        let all = tables::read_array::<Sample>(samples, SAMPLES)
            .map_err(|source| table_error("V8_SAMPLES", source))?;
        for (number, sample) in (0u32..).zip(all) {
            if sample.state != SampleState::Free as u32 && of(ProcessId(sample.process)) {
                tables::insert(samples, &number, &Sample::default())
                    .map_err(|source| table_error("V8_SAMPLES", source))?;
                tables::push(self.fd("V8_FREE")?, &number)
                    .map_err(|source| table_error("V8_FREE", source))?;
            }
        }
        Ok(())
    }

    /// From now on the JavaScript frames of this process are read, and its V8's probes do their work.
    pub fn describe_v8(&self, process: ProcessId, layout: &v8::Layout) -> Result<(), LoadError> {
        let map = self.fd("V8_LAYOUTS")?;
        let mut state = self.v8_state(process).unwrap_or_default();
        // The kernel side counts on meanwhile; nothing that it remembers by an earlier count must hold again.
        state.collections += 1 << 32;
        let can = layout.can & !state.given_up;
        tables::insert(map, &process.0, &v8::Layout { can, state, ..*layout })
            .map_err(|source| table_error("V8_LAYOUTS", source))
    }

    /// What the kernel side has found out of a process's V8; none where there is none or the process is gone.
    pub fn v8_state(&self, process: ProcessId) -> Option<v8::State> {
        let layout: v8::Layout = tables::get(self.fd("V8_LAYOUTS").ok()?, &process.0).ok()?;
        Some(layout.state)
    }

    /// When refills of V8's allocation areas are looked at from now on, in all processes.
    pub fn set_v8_window(&self, window: v8::Window) -> Result<(), LoadError> {
        let table = "V8_WINDOW";
        tables::insert(self.fd(table)?, &0u32, &window).map_err(|source| table_error(table, source))
    }

    /// Whether programs can be asked at a function's entry if they want to see its return (Linux 6.13 and newer).
    pub fn has_sessions(&mut self) -> bool {
        self.multi.as_mut().is_some_and(Multi::has_sessions)
    }

    /// Gives the room free that the V8 of a process took which is gone.
    pub fn forget_v8(&self, process: ProcessId) -> Result<(), LoadError> {
        match tables::remove(self.fd("V8_LAYOUTS")?, &process.0) {
            // No V8, and so no heap of it: as with most processes that end.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|source| table_error("V8_LAYOUTS", source))?,
        }
        let heaps = self.fd("V8_HEAPS")?;
        let all: Vec<(v8::HeapKey, v8::Heap)> =
            tables::read_all(heaps).map_err(|source| table_error("V8_HEAPS", source))?;
        for (key, _) in all.iter().filter(|(key, _)| key.process == u64::from(process.0)) {
            removed("V8_HEAPS", tables::remove(heaps, key))?;
        }
        Ok(())
    }

    /// Where a JavaScript function was seen last.
    pub fn sighting(&self, process: ProcessId, key: FunctionKey) -> Option<Sighting> {
        let of = FunctionOf { process: u64::from(process.0), key };
        tables::get(self.fd("V8_FUNCTIONS").ok()?, &of).ok()
    }
}
