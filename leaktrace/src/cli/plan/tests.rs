use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::{cli::Format, export::Metric};

fn plan(line: &str) -> Result<Plan, UsageError> {
    match Args::try_parse_from(line.split(' ')).expect("clap accepts the line").task()? {
        Task::Trace(plan) => Ok(*plan),
        other => panic!("not a trace: {other:?}"),
    }
}

#[test]
fn the_command_line_is_one_that_clap_accepts() {
    Args::command().debug_assert();
}

#[test]
fn a_pid_given_twice_is_traced_once() {
    let plan = plan("leaktrace --pid 7 --pid 3 -p 7").unwrap();
    let pids = [3, 7].map(|pid| NonZeroU32::new(pid).unwrap());
    assert_eq!(plan.targets, Targets::Pids(pids.to_vec()));
}

#[test]
fn without_a_pid_every_process_is_traced_that_fits_and_its_children() {
    let all = plan("leaktrace").unwrap();
    assert_eq!((all.targets, all.follow), (Targets::All(Selection::default()), true));
    assert_eq!(all.budget, Some(BUDGET));
    let chosen = plan("leaktrace --comm node --comm nginx --user root --cgroup web.service").unwrap();
    let selection = Selection {
        comms: vec!["node".to_owned(), "nginx".to_owned()],
        users: vec![0],
        cgroups: vec!["/web.service".to_owned()],
        ..Selection::default()
    };
    assert_eq!(chosen.targets, Targets::All(selection));
    assert!(plan("leaktrace record -o out.ltrace").is_ok());
}

#[test]
fn what_follows_two_dashes_is_the_program_with_its_own_flags() {
    let plan = plan("leaktrace --follow -- ls --color -v").unwrap();
    assert_eq!(plan.targets, Targets::Command(["ls", "--color", "-v"].map(OsString::from).to_vec()));
    assert!(plan.follow && !plan.output.verbose);
}

#[test]
fn lines_that_make_no_sense_are_refused_with_their_reason() {
    assert_eq!(plan("leaktrace --pid 1 --comm node"), Err(UsageError::SelectionAndTarget));
    assert_eq!(plan("leaktrace --exclude node -- ls"), Err(UsageError::SelectionAndTarget));
    assert_eq!(plan("leaktrace --prove"), Err(UsageError::ProveAll));
    assert_eq!(plan("leaktrace --watch"), Err(UsageError::WatchOne));
    assert_eq!(plan("leaktrace --pid 1 -- ls"), Err(UsageError::PidAndCommand));
    assert_eq!(plan("leaktrace --pid 0"), Err(UsageError::PidZero));
    assert_eq!(plan("leaktrace --pid 1 --duration 0s"), Err(UsageError::ZeroTime("duration")));
    assert_eq!(plan("leaktrace --pid 1 --consecutive-gcs 0"), Err(UsageError::ZeroRoom("consecutive-gcs")));
    assert_eq!(plan("leaktrace --pid 1 --quiet"), Err(UsageError::QuietForNothing));
    assert_eq!(plan("leaktrace --pid 1 --prove --only javascript"), Err(UsageError::NothingToProve));
    assert_eq!(plan("leaktrace --pid 1 --max-live 0"), Err(UsageError::ZeroRoom("max-live")));
    assert_eq!(
        plan("leaktrace --pid 1 --min-size 2KiB --max-size 1KiB"),
        Err(UsageError::EmptySizeRange { min: 2048, max: 1024 })
    );
}

#[test]
fn to_record_is_to_trace_with_a_file_to_record_to() {
    let recorded = plan("leaktrace record --pid 7 --duration 1m -o out.ltrace").unwrap();
    assert_eq!(recorded.output.record, Some(PathBuf::from("out.ltrace")));
    assert_eq!(plan("leaktrace --pid 7 --duration 1m --record out.ltrace").unwrap(), recorded);
    let started = plan("leaktrace record -o out.ltrace --follow -- ls -o").unwrap();
    assert_eq!(started.targets, Targets::Command(["ls", "-o"].map(OsString::from).to_vec()));
    assert_eq!(plan("leaktrace record --pid 7"), Err(UsageError::NoRecording));
    assert!(plan("leaktrace --quiet --pid 7 -o out.ltrace").is_ok());
}

#[test]
fn one_process_is_watched_every_half_minute_unless_another_time_is_given() {
    let watch = |line| plan(line).map(|plan| plan.watch);
    assert_eq!(watch("leaktrace --pid 1"), Ok(None));
    assert_eq!(watch("leaktrace --watch --pid 1"), Ok(Some(Duration::from_secs(30))));
    assert_eq!(watch("leaktrace --watch --every 1m --pid 1"), Ok(Some(Duration::from_secs(60))));
    assert_eq!(watch("leaktrace --watch --pid 1 --pid 2"), Err(UsageError::WatchOne));
    assert_eq!(watch("leaktrace --watch -- ls"), Err(UsageError::WatchOne));
    assert_eq!(watch("leaktrace --watch --every 0s --pid 1"), Err(UsageError::ZeroTime("every")));
    assert_eq!(watch("leaktrace --watch --pid 1 --only javascript"), Err(UsageError::NothingToWatch));
    assert!(Args::try_parse_from(["leaktrace", "--every", "1s", "--pid", "1"]).is_err());
}

#[test]
fn a_file_of_each_kind_may_be_asked_for_and_what_it_counts() {
    let given =
        "leaktrace --pid 1 -q --folded a --json b --flamegraph c --pprof d --speedscope e --heapprofile f";
    let exports = plan(&format!("{given} --html g --metric leaked-bytes")).unwrap().output.exports;
    assert_eq!((exports.files.len(), exports.metric), (7, Metric::LeakedBytes));
    assert!(exports.files.contains(&(Format::Pprof, "d".into())));
    assert_eq!(plan("leaktrace --pid 1").unwrap().output.exports, Exports::default());
    assert!(Args::try_parse_from(["leaktrace", "--pid", "1", "--metric", "weight"]).is_err());
}

#[test]
fn lines_of_json_take_the_place_of_text_unless_they_go_to_a_file() {
    let output = |line| plan(line).map(|plan| (plan.output.is_text(), plan.output.lines));
    assert_eq!(output("leaktrace --pid 1"), Ok((true, None)));
    assert_eq!(output("leaktrace --pid 1 --stream jsonl"), Ok((false, Some(Lines::Stdout))));
    let file = Some(Lines::File("a=b.jsonl".into()));
    assert_eq!(output("leaktrace --pid 1 --stream jsonl=a=b.jsonl"), Ok((true, file.clone())));
    assert_eq!(output("leaktrace --pid 1 --quiet --stream jsonl=a=b.jsonl"), Ok((false, file)));
    for other in ["json", "jsonl=", "jsonlines=a", ""] {
        assert!(Args::try_parse_from(["leaktrace", "--pid", "1", "--stream", other]).is_err(), "{other}");
    }
}

#[test]
fn sizes_and_times_are_read_with_their_units() {
    let plan = plan("leaktrace --pid 1 --min-size 64KiB --older-than 1m").unwrap();
    assert_eq!((plan.min_size, plan.max_size), (65536, u64::MAX));
    assert_eq!(plan.older_than, Some(Duration::from_secs(60)));
}
