use super::*;

const SECOND: u64 = 1_000_000_000;

fn seen(at_ns: u64, sizes: &[(u64, u64)]) -> Seen {
    let in_use = sizes.iter().map(|(size, chunks)| {
        (SizeClass { from: *size, to: *size }, Amount { chunks: *chunks, bytes: size * chunks })
    });
    let census = Census { in_use: in_use.collect(), ..Census::default() };
    let look = Look { arenas: 2, tcaches: 3, walked: 1 << 20, mapped: 4, mapped_found: 4, ..Look::default() };
    Seen { at_ns, took_ns: 1_500_000, census, look }
}

fn course() -> Course {
    let subject = Subject { pid: 7, comm: "server".to_owned(), version: Some("2.36".to_owned()) };
    let mut course = Course::new(subject, seen(0, &[(48, 1000), (64, 10), (128, 2000)]));
    course.add(seen(30 * SECOND, &[(48, 1000), (64, 500), (128, 1000)]));
    course.add(seen(60 * SECOND, &[(48, 999), (64, 900), (128, 2000)]));
    course
}

fn text(course: &Course, top: usize) -> String {
    let mut out = Vec::new();
    course.write_text(top, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_grew_stands_first_and_is_marked() {
    insta::assert_snapshot!(text(&course(), 10));
}

#[test]
fn sizes_past_the_top_are_counted() {
    let shown = text(&course(), 1);
    assert!(shown.contains("(2 more sizes)") && !shown.contains("  128  "), "{shown}");
}

#[test]
fn what_could_not_be_read_is_said() {
    let mut course = course();
    let mut doubtful = seen(90 * SECOND, &[(48, 1)]);
    doubtful.look.unwalked = 4096;
    doubtful.look.mapped_found = 3;
    doubtful.look.torn_lists = 1;
    course.add(doubtful);
    let shown = text(&course, 10);
    for words in ["4.0 KiB of arenas not read", "counts 4 blocks", "3 were found", "1 list of free blocks"] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
}

#[test]
fn json_keeps_to_its_published_schema() {
    let schema = include_str!("../../../schema/census-v1.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut out = Vec::new();
    course().write_json(&mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(document["growing"][0]["from"], 64);
    assert_eq!(document["growing"][0]["bytes"], 890 * 64);
    assert_eq!(document["growing"][0]["looks"], 2);
    assert!(!validator.is_valid(&serde_json::json!({})), "the schema asks for something");
}
