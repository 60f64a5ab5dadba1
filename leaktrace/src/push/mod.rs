//! Reports as profiles for a store that is sent one at intervals: Pyroscope, or what speaks its push API, such as Alloy.
//!
//! One request holds a series for each process, named by the labels `service_name` (its short name), `pid` and `hostname`. Each
//! profile has what was allocated since the last request that was taken, and what is live now.
//! <https://github.com/grafana/pyroscope/blob/060dd8b208fc/api/push/v1/push.proto>

use std::collections::HashMap;

use data_encoding::BASE64;
use serde::Serialize;

use crate::{
    export::Interval,
    report::{Process, Report, Stack, Totals, ranking::ranking},
};

/// Below the URL of a store.
pub const PATH: &str = "/push.v1.PusherService/Push";
/// Processes with series of their own, as reports rank them; the others share one.
pub const PROCESSES: usize = 100;
/// `service_name` of the others'.
const OTHERS: &str = "other-processes";

/// What the store has been told.
#[derive(Debug, Default)]
pub struct Sent {
    /// What was allocated on each stack by then, in blocks and bytes.
    allocated: HashMap<Key, (u64, u64)>,
    traced_ns: u64,
}

/// A process, a stack in it, and which of its heaps.
type Key = (u32, String, bool);

/// A stack, its process, and what is told of it.
type Told<'a> = (&'a Stack, &'a Process, Totals);

/// When and where a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    pub hostname: &'a str,
}

#[derive(Serialize)]
struct Request {
    series: Vec<Series>,
}

#[derive(Serialize)]
struct Series {
    labels: Vec<Label>,
    samples: [Sample; 1],
}

#[derive(Serialize)]
struct Label {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Sample {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "rawProfile")]
    raw_profile: String,
}

impl Sent {
    /// The body of a request, JSON; none where there is nothing to tell. `id` gives a new UUID each time.
    ///
    /// # Errors
    /// None that memory can have.
    pub fn request<'r>(
        &'r self,
        report: &'r Report,
        moment: Moment<'_>,
        mut id: impl FnMut() -> String,
    ) -> serde_json::Result<Option<String>> {
        let mut stacks: HashMap<u32, Vec<&Stack>> = HashMap::new();
        for stack in &report.stacks {
            stacks.entry(stack.process).or_default().push(stack);
        }
        let mut told = |process: &'r Process| {
            let own = stacks.remove(&process.process).unwrap_or_default();
            own.into_iter().map(move |stack| (stack, process, self.since(stack)))
        };
        let ranked = ranking(report);
        let (own, others) = ranked.split_at(PROCESSES.min(ranked.len()));
        let mut series = Vec::new();
        for process in own.iter().map(|one| one.process) {
            let of_it: Vec<Told<'_>> = told(process).collect();
            let labels = [("service_name", service(process)), ("pid", process.pid.to_string())];
            series.extend(self.series(report, &of_it, moment, labels, &mut id));
        }
        let of_others: Vec<Told<'_>> = others.iter().flat_map(|one| told(one.process)).collect();
        let labels = [("service_name", OTHERS.to_owned())];
        series.extend(self.series(report, &of_others, moment, labels, &mut id));
        if series.is_empty() { Ok(None) } else { serde_json::to_string(&Request { series }).map(Some) }
    }

    /// The store took what this report tells.
    pub fn taken(&mut self, report: &Report) {
        let allocated = |stack: &Stack| (stack.totals.allocs, stack.totals.alloc_bytes);
        self.allocated = report.stacks.iter().map(|stack| (key(stack), allocated(stack))).collect();
        self.traced_ns = report.traced_ns;
    }

    /// Its totals, of which those of allocations are what was not told yet.
    fn since(&self, stack: &Stack) -> Totals {
        let (allocs, bytes) = self.allocated.get(&key(stack)).copied().unwrap_or_default();
        Totals {
            // Estimates of the same thing may get smaller.
            allocs: stack.totals.allocs.saturating_sub(allocs),
            alloc_bytes: stack.totals.alloc_bytes.saturating_sub(bytes),
            ..stack.totals
        }
    }

    fn series(
        &self,
        report: &Report,
        stacks: &[Told<'_>],
        moment: Moment<'_>,
        labels: impl IntoIterator<Item = (&'static str, String)>,
        id: &mut impl FnMut() -> String,
    ) -> Option<Series> {
        let tells =
            |totals: &Totals| totals.live_bytes + totals.alloc_bytes + totals.live_blocks + totals.allocs > 0;
        if !stacks.iter().any(|(_, _, totals)| tells(totals)) {
            return None;
        }
        let lasted_ns = report.traced_ns.saturating_sub(self.traced_ns);
        let profile = Interval { report, stacks, at_ns: moment.at_ns, lasted_ns }.pprof();
        // The name of heap profiles, as Go's have it.
        let always = [("__name__", "memory".to_owned()), ("hostname", moment.hostname.to_owned())];
        let labels = always.into_iter().chain(labels).map(|(name, value)| Label { name, value }).collect();
        Some(Series { labels, samples: [Sample { id: id(), raw_profile: BASE64.encode(&profile) }] })
    }
}

fn service(process: &Process) -> String {
    if process.comm.is_empty() { "process".to_owned() } else { process.comm.clone() }
}

fn key(stack: &Stack) -> Key {
    (stack.process, stack.stack.clone(), stack.is_javascript())
}

#[cfg(test)]
mod tests;
