//! Files held against their formats' descriptions, and against what those formats' own programs write.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};

use super::{
    super::{super::*, world::world},
    Folder, flamegraph_pl, is_there, says, speedscope,
};
use crate::report::tests::written;

fn keeps_to(schema: &Value, file: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(file).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!validator.is_valid(&json!({})), "the schema asks for something");
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn speedscope_s_file_keeps_to_the_schema_that_comes_with_it() {
    let Some(folder) = speedscope() else { return };
    let schema = read(&fs::read_to_string(folder.join("file-format-schema.json")).unwrap());
    for metric in [Metric::LiveBytes, Metric::LiveCount] {
        keeps_to(&schema, &read(&written(&Speedscope { metric }, &world())));
    }
}

/// <https://github.com/jlfwong/speedscope/blob/v1.25.0/src/lib/file-format-spec.ts>, what a sampled profile may be; nothing else
/// but what leaktrace says it adds.
#[test]
fn speedscope_s_file_keeps_to_its_specification() {
    let number = json!({"type": "integer", "minimum": 0});
    let frame = json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "file": {"type": "string"}, "line": number, "col": number,
            "kind": {"enum": ["native", "inlined", "javascript", "inlined javascript", "jit", "unknown"]}},
    });
    let profile = json!({
        "type": "object", "additionalProperties": false,
        "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
        "properties": {"type": {"const": "sampled"}, "name": {"type": "string"}, "unit": {"enum": ["none", "bytes"]},
            "startValue": number, "endValue": number, "weights": {"type": "array", "items": number},
            "samples": {"type": "array", "items": {"type": "array", "items": number}}},
    });
    let schema = json!({
        "type": "object", "required": ["$schema", "shared", "profiles"], "additionalProperties": false,
        "properties": {"$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
            "name": {"type": "string"}, "exporter": {"type": "string"},
            "shared": {"type": "object", "required": ["frames"], "additionalProperties": false,
                "properties": {"frames": {"type": "array", "items": frame}}},
            "profiles": {"type": "array", "items": profile, "minItems": 1}},
    });
    let file = read(&written(&Speedscope::default(), &world()));
    keeps_to(&schema, &file);
    let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
    let samples =
        file["profiles"].as_array().unwrap().iter().flat_map(|one| one["samples"].as_array().unwrap());
    assert!(samples.flat_map(|one| one.as_array().unwrap()).all(|at| at.as_u64().unwrap() < frames));
}

/// <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/include/js_protocol.pdl>, `SamplingHeapProfile`.
fn heapprofile() -> Value {
    let number = json!({"type": "integer", "minimum": -1});
    json!({
        "type": "object", "required": ["head", "samples"],
        "properties": {"head": {"$ref": "#/$defs/node"},
            "samples": {"type": "array", "items": {"type": "object", "required": ["size", "nodeId", "ordinal"],
                "properties": {"size": number, "nodeId": number, "ordinal": number}}}},
        "$defs": {
            "node": {"type": "object", "required": ["callFrame", "selfSize", "id", "children"],
                "properties": {"callFrame": {"$ref": "#/$defs/frame"}, "selfSize": number, "id": number,
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}},
            "frame": {"type": "object",
                "required": ["functionName", "scriptId", "url", "lineNumber", "columnNumber"],
                "properties": {"functionName": {"type": "string"}, "scriptId": {"type": "string"},
                    "url": {"type": "string"}, "lineNumber": number, "columnNumber": number}}},
    })
}

#[test]
fn a_heapprofile_keeps_to_the_protocol_s_description_and_each_node_has_its_own_id() {
    let file = read(&written(&HeapProfile::default(), &world()));
    keeps_to(&heapprofile(), &file);
    let mut ids = Vec::new();
    walk(&file["head"], &mut |node| ids.push(node["id"].as_u64().unwrap()));
    let distinct: BTreeSet<&u64> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    let samples = file["samples"].as_array().unwrap();
    assert!(samples.iter().all(|sample| distinct.contains(&sample["nodeId"].as_u64().unwrap())));
}

#[test]
fn a_heapprofile_has_the_fields_of_one_that_node_writes() {
    if !is_there("node", "--version") {
        return;
    }
    let folder = Folder::new("heap-prof");
    let flags = ["--heap-prof", "--heap-prof-interval=1024", "--heap-prof-name=own.heapprofile", "-e"];
    says(
        Command::new("node")
            .args(flags)
            .arg("global.kept = Array.from({length: 1e5}, (_, at) => ({at}))")
            .current_dir(&folder.0),
    );
    let theirs = read(&fs::read_to_string(folder.0.join("own.heapprofile")).unwrap());
    keeps_to(&heapprofile(), &theirs);
    let ours = read(&written(&HeapProfile::default(), &world()));
    let fields = |file: &Value| {
        let mut fields = BTreeSet::new();
        let mut add = |of: &str, value: &Value| {
            fields.extend(value.as_object().unwrap().keys().map(|key| format!("{of}.{key}")));
        };
        add("file", file);
        add("sample", &file["samples"][0]);
        walk(&file["head"], &mut |node| {
            add("node", node);
            add("frame", &node["callFrame"]);
        });
        fields
    };
    let mut expected = fields(&theirs);
    expected.insert("frame.kind".to_owned());
    assert_eq!(fields(&ours), expected);
}

fn walk(node: &Value, see: &mut impl FnMut(&Value)) {
    see(node);
    for child in node["children"].as_array().unwrap() {
        walk(child, see);
    }
}

#[test]
fn flamegraph_pl_draws_every_folded_line_of_each_metric() {
    let Some(script) = flamegraph_pl() else { return };
    let folder = Folder::new("flamegraph.pl");
    for metric in <Metric as clap::ValueEnum>::value_variants() {
        let file = folder.write("live.folded", &Folded { metric: *metric }, &world());
        let svg = says(Command::new("perl").arg(&script).args(["--minwidth", "0"]).arg(&file));
        let all: u64 = metric.of(&world()).iter().sum();
        // It writes thousands with a comma.
        let said = svg.replace(',', "");
        assert!(said.contains(&format!("<title>all ({all} samples 100%)")), "{metric:?}: {svg}");
    }
    let svg = says(Command::new("perl").arg(&script).arg(folder.write("f", &Folded::default(), &world())));
    // Angle brackets become round ones.
    for frame in ["copy(a:b)_[i]", "onRequest /app/server.js:12:7_[j]"] {
        assert!(svg.contains(&format!("<title>{frame} (")), "{frame}: {svg}");
    }
}

#[test]
fn inferno_s_own_reader_takes_every_folded_line() {
    let folded = written(&Folded::default(), &world());
    let mut svg = Vec::new();
    let mut options = inferno::flamegraph::Options::default();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut svg).unwrap();
    let all: u64 = Metric::LiveBytes.of(&world()).iter().sum();
    assert!(String::from_utf8(svg).unwrap().contains(&format!("total_samples=\"{all}\"")));
}
