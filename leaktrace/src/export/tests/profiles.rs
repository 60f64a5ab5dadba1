//! What the profiles hold beside their sums.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::{
        HeapProfile, History, Html, Metric, Speedscope,
        pprof::messages::{Location, Mapping, Profile, Sample},
    },
    sums::profile,
    world::{empty, world},
};
use crate::report::tests::written;

fn text(profile: &Profile, at: i64) -> &str {
    &profile.string_table[at as usize]
}

fn labels<'a>(profile: &'a Profile, sample: &Sample) -> BTreeMap<&'a str, &'a str> {
    sample.label.iter().map(|label| (text(profile, label.key), text(profile, label.str))).collect()
}

fn location(profile: &Profile, id: u64) -> &Location {
    profile.location.iter().find(|location| location.id == id).unwrap()
}

/// `function file:line:column`, innermost first.
fn lines<'a>(profile: &'a Profile, location: &'a Location) -> Vec<(&'a str, &'a str, i64, i64)> {
    let function = |id| profile.function.iter().find(|function| function.id == id).unwrap();
    let each = location.line.iter().map(|line| (function(line.function_id), line));
    each.map(|(function, line)| {
        (text(profile, function.name), text(profile, function.filename), line.line, line.column)
    })
    .collect()
}

fn mapping<'a>(profile: &'a Profile, location: &Location) -> (&'a str, Mapping) {
    let mapping = profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id).unwrap();
    (text(profile, mapping.filename), *mapping)
}

#[test]
fn a_heap_profile_has_the_sample_types_of_go_s() {
    let profile = profile(Metric::LiveBytes, &world());
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|kind| (text(&profile, kind.kind), text(&profile, kind.unit)))
        .collect();
    assert_eq!(
        types,
        [
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes")
        ]
    );
    assert_eq!(text(&profile, profile.default_sample_type), "inuse_space");
    assert_eq!(profile.string_table[0], "");
    let grown = super::sums::profile(Metric::Growth, &world());
    assert_eq!(text(&grown, grown.sample_type[4].kind), "growth_space");
}

#[test]
fn inlined_functions_are_lines_of_one_location() {
    let profile = profile(Metric::LiveBytes, &world());
    let leaked = &profile.sample[0];
    let first = location(&profile, leaked.location_id[0]);
    let place = [("copy<a;b>", "src/http.c", 80, 0), ("parse_req", "src/http.c", 211, 0)];
    assert_eq!(lines(&profile, first), place);
    let (file, mapping) = mapping(&profile, first);
    assert_eq!((file, first.address), ("/usr/bin/server", 0x100));
    assert!(mapping.has_functions && mapping.has_inline_frames && mapping.has_line_numbers);
    assert!((mapping.memory_start..mapping.memory_limit).contains(&first.address));
    assert_eq!(leaked.location_id.len(), 2, "malloc is a label");
    let labels = labels(&profile, leaked);
    assert_eq!(
        (labels["allocator"], labels["verdict"], labels["kind"], labels["pid"]),
        ("malloc", "LEAK", "heap", "1234")
    );
}

#[test]
fn javascript_is_told_by_its_mapping_and_split_by_type() {
    let profile = profile(Metric::LiveBytes, &world());
    let own: Vec<_> = profile
        .sample
        .iter()
        .map(|sample| (labels(&profile, sample), sample))
        .filter(|(labels, _)| labels["kind"] == "javascript")
        .collect();
    let told: Vec<_> =
        own.iter().map(|(labels, sample)| (labels.get("type").copied(), &*sample.value)).collect();
    assert_eq!(
        told,
        [
            (None, &[9, 9000, 0, 0][..]),
            (Some("Session"), &[0, 0, 2, 2000]),
            (Some("String"), &[0, 0, 1, 1000])
        ]
    );
    let place = location(&profile, own[0].1.location_id[0]);
    assert_eq!(mapping(&profile, place).0, "[javascript]");
    assert_eq!(
        lines(&profile, place),
        [("keep", "/app/cache.js", 3, 15), ("onRequest", "/app/server.js", 12, 7)]
    );
}

#[test]
fn types_that_do_not_add_up_to_what_is_live_are_left_out() {
    let mut report = world();
    let javascript = report.stacks.iter_mut().find(|stack| stack.kind == "javascript").unwrap();
    javascript.types.pop();
    let profile = profile(Metric::LiveBytes, &report);
    assert!(profile.sample.iter().all(|sample| !labels(&profile, sample).contains_key("type")));
}

#[test]
fn why_a_stack_ends_is_its_outermost_frame() {
    let profile = profile(Metric::LiveBytes, &world());
    let outermost = |sample: &Sample| {
        let place = location(&profile, *sample.location_id.last().unwrap());
        lines(&profile, place).last().unwrap().0.to_owned()
    };
    let outermost: Vec<String> = profile.sample.iter().map(outermost).collect();
    assert!(outermost.contains(&"[stack ends early: unknown code]".to_owned()), "{outermost:?}");
    assert!(outermost.contains(&"[stack unknown]".to_owned()), "{outermost:?}");
}

#[test]
fn every_number_of_a_profile_names_something() {
    for metric in [Metric::LiveBytes, Metric::LeakedBytes] {
        let profile = profile(metric, &world());
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            assert!(!sample.location_id.is_empty());
            for id in &sample.location_id {
                let place = location(&profile, *id);
                assert!(!lines(&profile, place).is_empty());
                if place.mapping_id != 0 {
                    mapping(&profile, place);
                }
            }
            labels(&profile, sample);
        }
    }
}

#[test]
fn speedscope_has_a_profile_for_each_process_with_kinds_and_places() {
    let json: Value = serde_json::from_str(&written(&Speedscope::default(), &world())).unwrap();
    let names: Vec<&str> =
        json["profiles"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ser;ver-1234", "node-77"]);
    let frames = json["shared"]["frames"].as_array().unwrap();
    let frame = |name: &str| frames.iter().find(|frame| frame["name"] == name).unwrap().clone();
    assert_eq!(
        frame("keep"),
        json!({"name": "keep", "file": "/app/cache.js", "line": 3, "col": 15, "kind": "inlined javascript"})
    );
    assert_eq!(frame("LazyCompile:other"), json!({"name": "LazyCompile:other", "kind": "jit"}));
    let sample = json["profiles"][1]["samples"][0].as_array().unwrap();
    let shown: Vec<&Value> = sample.iter().map(|at| &frames[at.as_u64().unwrap() as usize]["name"]).collect();
    assert_eq!(shown, ["onRequest", "keep", "V8's heap"]);
    let counted = written(&Speedscope { metric: Metric::LiveCount }, &world());
    assert!(counted.contains("\"unit\":\"none\"") && !counted.contains("\"unit\":\"bytes\""));
}

#[test]
fn a_heapprofile_counts_lines_from_0_and_gives_bytes_to_the_caller_of_the_allocator() {
    let json: Value = serde_json::from_str(&written(&HeapProfile::default(), &world())).unwrap();
    let process = &json["head"]["children"][1];
    assert_eq!((&process["callFrame"]["functionName"], &process["selfSize"]), (&json!("node-77"), &json!(0)));
    let outer = &process["children"][0];
    assert_eq!(
        outer["callFrame"],
        json!({"functionName": "onRequest", "scriptId": "4", "url": "/app/server.js", "lineNumber": 11,
            "columnNumber": 6, "kind": "javascript"})
    );
    let inner = &outer["children"][0];
    assert_eq!((&inner["callFrame"]["functionName"], &inner["selfSize"]), (&json!("keep"), &json!(3000)));
    assert!(json["samples"].as_array().unwrap().iter().any(|sample| sample["nodeId"] == inner["id"]));
}

#[test]
fn a_page_has_no_markup_of_names_and_asks_for_nothing() {
    let page = written(&Html::default(), &world());
    assert!(!page.contains("alert(1)</script>"), "the command line is text");
    assert!(page.contains("node &lt;/script&gt;&lt;script&gt;alert(1)"), "{page}");
    assert!(page.contains("LEAK") && page.contains("class=\"verdict bad\""));
    for part in ["id=\"growth\"", "id=\"flamegraph\"", "id=\"stacks\"", "copy&lt;a;b&gt;"] {
        assert!(page.contains(part), "{part}");
    }
    // Links and sources to elsewhere; names of namespaces are none.
    for loads in ["src=\"", "href=\"http", "@import", "url(h"] {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(written(&Html::default(), &empty()).contains("Too short a time to judge."));
}

#[test]
fn a_page_of_a_recording_draws_what_its_moments_held() {
    let last = world();
    let mut history = History::up_to(&last);
    let page = |history: &History| written(&Html { history: Some(history), ..Html::default() }, &last);
    let lines = |page: &str| page.matches("<path class=\"line\"").count();
    let without = lines(&written(&Html::default(), &last));
    history.add(&last);
    assert_eq!(lines(&page(&history)), without, "one moment is no line");
    let mut later = last.clone();
    later.traced_ns *= 2;
    later.totals.live_bytes *= 2;
    later.stacks.retain(|stack| !last.verdicts[0].members.contains(&stack.stack));
    history.add(&later);
    let page = page(&history);
    for caption in
        ["Live bytes of native memory", "Live bytes of JavaScript, by samples", "live bytes of its stacks"]
    {
        assert!(page.contains(caption), "{caption}: {page}");
    }
    assert_eq!(lines(&page), without + 3);
    // All of native memory doubled, and what leaked is gone: from half of the time and height on, up and down.
    assert!(page.contains("d=\"M280.0 70.0 L542.0 18.0 \""), "{page}");
    assert!(page.contains("d=\"M280.0 18.0 L542.0 122.0 \""), "{page}");
}
