//! Each form is read back, and its sum is the report's to the byte.

use std::io::Read as _;

use clap::ValueEnum as _;
use flate2::read::GzDecoder;
use prost::Message as _;
use serde_json::Value;

use super::{
    super::{
        Flamegraph, Folded, HeapProfile, Html, Metric, Pprof, Speedscope,
        pprof::messages::{Profile, ValueType},
    },
    world::world,
};
use crate::report::{Exporter, Json, Report, tests::written};

/// What a file says in all.
type Sum = fn(Metric, &Report) -> u64;

const FORMS: [(&str, Sum); 6] = [
    ("folded", folded),
    ("flamegraph", flamegraph),
    ("pprof", pprof),
    ("speedscope", speedscope),
    ("heapprofile", heapprofile),
    ("html", html),
];

#[test]
fn every_form_sums_up_to_the_same_to_the_byte() {
    let report = world();
    let mut sums = Vec::new();
    for metric in Metric::value_variants() {
        let sum: u64 = metric.of(&report).iter().sum();
        assert!(sum > 0, "{metric:?} has something to compare");
        for (form, sum_of) in FORMS {
            assert_eq!(sum_of(*metric, &report), sum, "{metric:?} as {form}");
        }
        sums.push(sum);
    }
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), Metric::value_variants().len(), "the world tells the metrics apart");
}

#[test]
fn json_has_the_same_sums() {
    let report = world();
    let json: Value = serde_json::from_str(&written(&Json, &report)).unwrap();
    let sum = |field: &str| -> u64 {
        json["stacks"].as_array().unwrap().iter().map(|stack| stack[field].as_u64().unwrap()).sum()
    };
    let of = |metric: Metric| metric.of(&report).iter().sum::<u64>();
    assert_eq!(sum("live_bytes"), of(Metric::LiveBytes));
    assert_eq!(sum("live_blocks"), of(Metric::LiveCount));
    assert_eq!(sum("alloc_bytes"), of(Metric::AllocatedBytes));
}

#[test]
fn a_table_that_is_cut_still_sums_up() {
    let mut report = world();
    let last = report.stacks.last().unwrap().clone();
    report.stacks.extend((0..1000).map(|_| last.clone()));
    let page = written(&Html::default(), &report);
    let left_out = report.stacks.len() - 500;
    assert!(page.contains(&format!("<td>{left_out} more stacks</td>")), "{}", &page[page.len() - 1000..]);
    assert_eq!(html(Metric::LiveBytes, &report), Metric::LiveBytes.of(&report).iter().sum::<u64>());
}

fn folded(metric: Metric, report: &Report) -> u64 {
    let lines = written(&Folded { metric }, report);
    lines.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn flamegraph(metric: Metric, report: &Report) -> u64 {
    let svg = written(&Flamegraph { metric }, report);
    let (_, all) = svg.split_once("total_samples=\"").unwrap();
    all.split('"').next().unwrap().parse().unwrap()
}

/// Of the sample type that is shown first.
fn pprof(metric: Metric, report: &Report) -> u64 {
    let profile = profile(metric, report);
    let is_first = |kind: &ValueType| kind.kind == profile.default_sample_type;
    let at = profile.sample_type.iter().position(is_first).unwrap();
    profile.sample.iter().map(|sample| sample.value[at] as u64).sum()
}

pub(super) fn profile(metric: Metric, report: &Report) -> Profile {
    let (mut gzip, mut bytes) = (Vec::new(), Vec::new());
    Pprof { metric }.write(report, &mut gzip).unwrap();
    GzDecoder::new(&*gzip).read_to_end(&mut bytes).unwrap();
    Profile::decode(&*bytes).unwrap()
}

fn speedscope(metric: Metric, report: &Report) -> u64 {
    let json: Value = serde_json::from_str(&written(&Speedscope { metric }, report)).unwrap();
    let profiles = json["profiles"].as_array().unwrap();
    let weights = |profile: &Value| -> u64 {
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(weights.len(), profile["samples"].as_array().unwrap().len());
        weights.iter().map(|weight| weight.as_u64().unwrap()).sum()
    };
    profiles.iter().for_each(|profile| assert_eq!(profile["endValue"], weights(profile)));
    profiles.iter().map(weights).sum()
}

fn heapprofile(metric: Metric, report: &Report) -> u64 {
    fn own(node: &Value) -> u64 {
        let children = node["children"].as_array().unwrap();
        node["selfSize"].as_u64().unwrap() + children.iter().map(own).sum::<u64>()
    }
    let json: Value = serde_json::from_str(&written(&HeapProfile { metric }, report)).unwrap();
    let samples = json["samples"].as_array().unwrap();
    assert_eq!(
        own(&json["head"]),
        samples.iter().map(|sample| sample["size"].as_u64().unwrap()).sum::<u64>()
    );
    own(&json["head"])
}

fn html(metric: Metric, report: &Report) -> u64 {
    let page = written(&Html { metric, history: None }, report);
    let values = page.split("data-value=\"").skip(1);
    values.map(|part| part.split('"').next().unwrap().parse::<u64>().unwrap()).sum()
}
