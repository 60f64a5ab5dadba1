use std::time::Duration;

use super::*;
use crate::report::{Process, tests::judged::judged};

const OWN: Option<Own> = Some(Own { cpu: Duration::from_millis(1250), resident: 96 << 20 });

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_leak_is_a_series_of_its_process_and_one_of_its_place() {
    let mut report = judged(100, false, 0);
    report.processes[0].comm = "ser\"ver".to_owned();
    let text = text(&report, OWN).unwrap();
    let verdict = report.verdicts.iter().find(|verdict| verdict.is_leak()).unwrap();
    let pid = verdict.pid;
    let who = format!(r#"pid="{pid}",comm="ser\"ver""#);
    assert!(value(&text, &format!("leaktrace_process_verdicts{{{who},verdict=\"leak\"}}")) >= 1.0);
    let rate = value(&text, &format!("leaktrace_stack_leaking_bytes_per_second{{{who},heap=\"native\""));
    assert!((rate - verdict.bytes_per_second).abs() < 1e-6 * rate.abs());
    assert!(value(&text, &format!("leaktrace_process_live_bytes{{{who},heap=\"native\"}}")) > 0.0);
    assert!(text.ends_with("# EOF\n"));
    // Series of one name are in no order.
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn however_many_processes_there_are_the_series_are_bounded_and_the_sums_whole() {
    let mut report = judged(100, false, 0);
    let (process, stack) = (report.processes[0].clone(), report.stacks[0].clone());
    for number in 2..=2000 {
        report.processes.push(Process { process: number, pid: 10_000 + number, ..process.clone() });
        let mut stack = stack.clone();
        (stack.process, stack.totals.live_bytes) = (number, u64::from(number));
        report.stacks.push(stack);
    }
    let text = text(&report, OWN).unwrap();
    let own = |line: &&str| line.starts_with("leaktrace_process_live_bytes{");
    let own: Vec<&str> = text.lines().filter(own).collect();
    assert_eq!(own.len(), PROCESSES);
    let of = |line: &&str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let sum = own.iter().map(of).sum::<f64>() + value(&text, "leaktrace_other_processes_live_bytes");
    let native = report.stacks.iter().filter(|stack| stack.kind != "javascript");
    let native: u64 = native.map(|stack| stack.totals.live_bytes).sum();
    assert!((sum - native as f64).abs() < 0.5, "{sum} {native}");
}
