#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read as _;

use flate2::read::GzDecoder;
use prost::Message;
use serde_json::Value;

use super::*;
use crate::report::tests::judged::judged;

/// What is looked at of a profile.
#[derive(Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Values>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
}

#[derive(Message)]
struct Values {
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

impl Profile {
    fn of(series: &Value) -> Self {
        let raw = BASE64.decode(series["samples"][0]["rawProfile"].as_str().unwrap().as_bytes()).unwrap();
        let mut bytes = Vec::new();
        GzDecoder::new(&raw[..]).read_to_end(&mut bytes).unwrap();
        Self::decode(&bytes[..]).unwrap()
    }

    /// As pprof's heap profiles have it: allocated blocks and bytes, live blocks and bytes.
    fn sums(&self) -> [i64; 4] {
        [0, 1, 2, 3].map(|at| self.sample.iter().map(|sample| sample.value[at]).sum())
    }
}

fn series(sent: &Sent, report: &Report) -> Vec<Value> {
    let moment = Moment { at_ns: 1_700_000_000_000_000_000, hostname: "here" };
    let mut ids = 0;
    let id = || {
        ids += 1;
        format!("id-{ids}")
    };
    let body = sent.request(report, moment, id).unwrap();
    let body: Value = serde_json::from_str(body.as_deref().unwrap_or(r#"{"series": []}"#)).unwrap();
    body["series"].as_array().unwrap().clone()
}

fn label<'a>(series: &'a Value, name: &str) -> Option<&'a str> {
    let labels = series["labels"].as_array().unwrap();
    labels.iter().find(|label| label["name"] == name).map(|label| label["value"].as_str().unwrap())
}

fn sums(report: &Report) -> [i64; 4] {
    let Totals { allocs, alloc_bytes, live_blocks, live_bytes, .. } = report.totals;
    [allocs, alloc_bytes, live_blocks, live_bytes].map(|sum| sum as i64)
}

#[test]
fn a_process_is_a_series_with_its_name_and_all_of_its_memory() {
    let report = judged(100, false, 0);
    let series = series(&Sent::default(), &report);
    assert_eq!(series.len(), report.processes.len());
    let process = &report.processes[0];
    assert_eq!(label(&series[0], "__name__"), Some("memory"));
    assert_eq!(label(&series[0], "service_name"), Some(process.comm.as_str()));
    assert_eq!(label(&series[0], "pid"), Some(process.pid.to_string().as_str()));
    assert_eq!(label(&series[0], "hostname"), Some("here"));
    assert_eq!(series[0]["samples"][0]["ID"], "id-1");
    let profile = Profile::of(&series[0]);
    assert_eq!(profile.sums(), sums(&report));
    assert_eq!(profile.time_nanos, 1_700_000_000_000_000_000);
    assert_eq!(profile.duration_nanos, report.traced_ns as i64);
}

#[test]
fn what_was_allocated_is_told_once_and_what_is_live_each_time() {
    let (first, later) = (judged(50, false, 0), judged(100, false, 0));
    let mut sent = Sent::default();
    sent.taken(&first);
    let profile = Profile::of(&series(&sent, &later)[0]);
    let (before, now) = (sums(&first), sums(&later));
    assert_eq!(profile.sums(), [now[0] - before[0], now[1] - before[1], now[2], now[3]]);
    assert_eq!(profile.duration_nanos, (later.traced_ns - first.traced_ns) as i64);
    sent.taken(&later);
    assert_eq!(Profile::of(&series(&sent, &later)[0]).sums(), [0, 0, now[2], now[3]]);
}

#[test]
fn processes_beyond_the_bound_share_a_series_and_lose_nothing() {
    let mut report = judged(10, false, 0);
    let (process, stacks) = (report.processes[0].clone(), report.stacks.clone());
    for more in 1..=PROCESSES as u32 + 20 {
        let number = 1000 + more;
        report.processes.push(Process { process: number, pid: number, ..process.clone() });
        report.stacks.extend(stacks.iter().map(|stack| Stack {
            process: number,
            pid: number,
            ..stack.clone()
        }));
    }
    let series = series(&Sent::default(), &report);
    assert_eq!(series.len(), PROCESSES + 1);
    let others = series.iter().find(|one| label(one, "service_name") == Some(OTHERS)).unwrap();
    assert_eq!(label(others, "pid"), None);
    let all = series.iter().map(|one| Profile::of(one).sums());
    let all = all.fold([0; 4], |sums, more| [0, 1, 2, 3].map(|at| sums[at] + more[at]));
    let each = sums(&judged(10, false, 0));
    assert_eq!(all, each.map(|sum| sum * (PROCESSES as i64 + 21)));
}

#[test]
fn nothing_to_tell_is_no_request() {
    let mut report = judged(10, false, 0);
    report.stacks.clear();
    assert!(series(&Sent::default(), &report).is_empty());
}
