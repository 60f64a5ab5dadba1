//! On real maps: of `testprogs/bundled/dist/app.js`, made by esbuild, and of its forms that other tools write.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::SystemTime};

use super::{decode::Undecodable, *};
use crate::runtime::v8::Tier;

const BUNDLE: &[u8] = include_bytes!("../../../testprogs/bundled/dist/app.js");
const MAP: &[u8] = include_bytes!("../../../testprogs/bundled/dist/app.js.map");
const AT: &str = "/srv/app/dist/app.js.map";

/// Where this stands in the bundle, from 1.
fn place(text: &Text, wanted: &str) -> (u32, u32) {
    let at = (0..text.len()).find(|at| text.is(*at, wanted)).unwrap();
    text.place(at)
}

/// A frame of the bundle at `call`, of a function that begins at `start`.
fn frame(text: &Text, function: &str, start: (&str, u32), call: &str) -> JsFrame {
    let (line, column) = place(text, call);
    let (start_line, start_column) = place(text, start.0);
    JsFrame {
        function: function.to_owned(),
        file: "/srv/app/dist/app.js".to_owned(),
        line: Some(line),
        column: Some(column),
        start: Some((start_line, start_column + start.1)),
        tier: Tier::Interpreted,
        inlined: false,
        missing: None,
    }
}

fn shown(frame: &JsFrame) -> String {
    let (line, column) = (frame.line.unwrap_or(0), frame.column.unwrap_or(0));
    format!("{} {}:{line}:{column}", frame.function, frame.file)
}

fn translated(mapped: &Mapped, mut frame: JsFrame) -> String {
    mapped.translate(&mut frame);
    shown(&frame)
}

fn bundle() -> Mapped {
    Mapped { text: Text::new(BUNDLE), mappings: Mappings::of_bytes(MAP, AT).unwrap() }
}

#[test]
fn every_form_of_function_of_a_bundle_is_the_author_s() {
    let mapped = bundle();
    let text = &mapped.text;
    for (function, start, call, expected) in [
        ("j", ("function j(", 10), "Array.from", "rememberAnswer /srv/app/src/server.ts:21:18"),
        ("P", ("function P(", 10), "new i(", "work /srv/app/src/server.ts:27:61"),
        (
            "u",
            ("(s,e)=>{let t=new Array(400)", 0),
            "new Array(400)",
            "keepCart /srv/app/src/session.ts:19:16",
        ),
        ("i", ("constructor(e)", 11), "this.firstPages()", "Session /srv/app/src/session.ts:9:18"),
        ("firstPages", ("firstPages(){", 10), "[{page:", "firstPages /srv/app/src/session.ts:13:12"),
        ("c.steps", ("async(...s)", 0), "require(\"readline\")", "c.steps /srv/v8_protocol.js:5:17"),
    ] {
        assert_eq!(translated(&mapped, frame(text, function, start, call)), expected, "{function}");
    }
}

#[test]
fn an_anonymous_function_is_called_by_the_author_s_place() {
    let mapped = bundle();
    let text = &mapped.text;
    let (line, column) = place(text, "e=>{a.carts");
    let name = format!("(anonymous) app.js:{line}:{column}");
    let found = translated(&mapped, frame(text, &name, ("e=>{a.carts", 0), "new Array(300)"));
    assert_eq!(found, "(anonymous) server.ts:30:22 /srv/app/src/server.ts:31:23");
}

#[test]
fn what_no_map_covers_stays_as_it_is() {
    let mapped = bundle();
    // esbuild's own helper, before the first of the author's lines.
    let helper = frame(&mapped.text, "$", ("(s,e,t,n)=>", 0), "g(e))");
    assert_eq!(translated(&mapped, helper.clone()), shown(&helper));
    // And a script that is longer than the file, as where that was replaced.
    let behind = JsFrame { line: Some(9000), start: Some((9000, 1)), ..helper };
    assert_eq!(translated(&mapped, behind.clone()), shown(&behind));
}

#[test]
fn a_map_in_sections_is_read_as_one() {
    let part = String::from_utf8_lossy(MAP);
    let index = format!(
        r#"{{"version":3,"sections":[
            {{"offset":{{"line":0,"column":0}},"map":{{"version":3,"sources":["a.js"],"names":["first"],"mappings":"AAAAA"}}}},
            {{"offset":{{"line":0,"column":7}},"map":{{"version":3,"sources":["b.js"],"sourceRoot":"webpack://shop/./src","names":["second"],"mappings":"GAAAA"}}}},
            {{"offset":{{"line":2,"column":0}},"map":{part}}}]}}"#
    );
    let mappings = Mappings::of_bytes(index.as_bytes(), "/made/app.js.map").unwrap();
    let file = |place| mappings.original(place).map(|original| original.file.to_owned());
    assert_eq!(file((1, 5)).as_deref(), Some("/made/a.js"));
    assert_eq!(file((1, 9)), None, "of the second, before its first entry");
    assert_eq!(file((1, 11)).as_deref(), Some("webpack://shop/src/b.js"));
    assert_eq!(file((2, 1)), None, "a line's last entry ends with it");
    assert_eq!((mappings.name_at((1, 1)), mappings.name_at((1, 11))), (Some("first"), Some("second")));
    let (line, column) = place(&Text::new(BUNDLE), "new Array(400)");
    let original = mappings.original((line + 2, column)).unwrap();
    assert_eq!((original.file, original.line, original.column), ("/src/session.ts", 19, 16));
}

#[test]
fn a_map_within_the_file_is_read_in_each_of_its_forms() {
    let base64 = data_encoding::BASE64.encode(MAP);
    let plain: String = MAP.iter().map(|byte| format!("%{byte:02x}")).collect();
    for address in [
        format!("data:application/json;base64,{base64}"),
        format!("data:application/json;charset=UTF-8;base64,{}", base64.trim_end_matches('=')),
        format!("data:application/json,{plain}"),
    ] {
        let mappings = Mappings::of_data(&address, "/srv/app/dist/app.js").unwrap();
        let original = mappings.original(place(&Text::new(BUNDLE), "new Array(400)")).unwrap();
        assert_eq!((original.file, original.line), ("/srv/app/src/session.ts", 19));
    }
    assert_eq!(Mappings::of_data("data:application/json;base64,%", "/a").unwrap_err(), Undecodable::Broken);
}

#[test]
fn a_broken_map_is_refused_and_never_ends_the_trace() {
    let of = |map: &str| Mappings::of_bytes(map.as_bytes(), AT).map(|_| ());
    for map in [
        "",
        "{",
        "[]",
        "<html>",
        r#"{"version":3,"sources":[],"mappings":"AAAA"}"#,
        r#"{"version":3,"mappings":"!"}"#,
    ] {
        assert_eq!(of(map), Err(Undecodable::Broken), "{map}");
    }
    assert_eq!(of(&";".repeat((1 << 24) + 1)), Err(Undecodable::TooMany));
    // Numbers that no map has.
    let _ = of(
        r#"{"version":3,"sources":["a"],"names":[],"mappings":"gggggggggggggC,////////////D,D,AADC;A+/////////f"}"#,
    );
    // Cut short and with bytes changed: whatever is read, places are asked for.
    for at in (0..MAP.len()).step_by(31) {
        let mut changed = MAP.to_vec();
        changed[at] = changed[at].wrapping_add(at as u8 | 1);
        for map in [&MAP[..at], &changed] {
            let Ok(mappings) = Mappings::of_bytes(map, AT) else { continue };
            let mapped = Mapped { text: Text::new(BUNDLE), mappings };
            translated(&mapped, frame(&mapped.text, "j", ("function j(", 10), "Array.from"));
        }
    }
}

/// A folder of its own, below which files are as they are named.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = std::env::temp_dir().join(format!("leaktrace-maps-{name}-{}", std::process::id()));
        for (path, bytes) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self(folder)
    }

    /// The frame as it is shown, and what was lost.
    fn translated(
        &self,
        maps: &mut SourceMaps,
        file: &str,
        started: Option<SystemTime>,
    ) -> (String, Vec<String>) {
        let mut files = ProcessFiles::below(&self.0, started).unwrap();
        let text = Text::new(BUNDLE);
        let mut frame = frame(&text, "u", ("(s,e)=>{let t=new Array(400)", 0), "new Array(400)");
        file.clone_into(&mut frame.file);
        maps.translate(&mut files, &mut frame);
        (shown(&frame), maps.losses().map(|(reason, files)| format!("{files} {reason}")).collect())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn maps_are_found_below_the_process_s_root_and_by_its_links() {
    let bare = &BUNDLE[..BUNDLE.windows(4).position(|four| four == b"\n//#").unwrap()];
    let elsewhere = [bare, b"\n//# sourceMappingURL=https://maps.example/app.js.map"].concat();
    let named = [bare, b"\n//# sourceMappingURL=maps/my%20map.json?v=2"].concat();
    let tree = Tree::new(
        "found",
        &[
            ("app/dist/a b.mjs", BUNDLE),
            ("app/dist/app.js.map", MAP),
            ("app/dist/bare.js", bare),
            ("app/dist/bare.js.map", MAP),
            ("app/dist/elsewhere.js", &elsewhere),
            ("app/dist/elsewhere.js.map", MAP),
            ("app/dist/named.js", &named),
            ("app/dist/maps/my map.json", MAP),
        ],
    );
    // A link of the container's, which means its own root.
    symlink("/app/dist", tree.0.join("linked")).unwrap();
    let mut maps = SourceMaps::default();
    for (file, expected) in [
        ("/app/dist/a%20b.mjs", "keepCart /app/src/session.ts:19:16"),
        ("/linked/bare.js", "keepCart /src/session.ts:19:16"),
        ("/app/dist/elsewhere.js", "keepCart /app/src/session.ts:19:16"),
        ("/app/dist/named.js", "keepCart /app/dist/src/session.ts:19:16"),
    ] {
        assert_eq!(tree.translated(&mut maps, file, None), (expected.to_owned(), Vec::new()), "{file}");
    }
}

#[test]
fn what_is_not_read_is_counted_by_cause_and_named_once() {
    let bare: &[u8] = b"a()";
    let tree = Tree::new(
        "lost",
        &[
            ("plain.js", bare),
            ("missing.js", BUNDLE),
            ("again.js", BUNDLE),
            ("remote.js", b"a()\n//# sourceMappingURL=https://maps.example/a.map"),
            ("broken.js", bare),
            ("broken.js.map", b"{"),
            ("good.js", &BUNDLE[..BUNDLE.len() - b"//# sourceMappingURL=app.js.map\n".len()]),
            ("good.js.map", MAP),
        ],
    );
    fs::create_dir(tree.0.join("folder.js.map")).unwrap();
    fs::write(tree.0.join("folder.js"), bare).unwrap();
    let mut maps = SourceMaps::default();
    let plain = tree.translated(&mut maps, "/plain.js", None);
    assert!(plain.0.starts_with("u /plain.js:"), "{}", plain.0);
    assert_eq!(plain.1, ["1 source maps: no file names one or has one beside it"]);
    for file in
        ["/missing.js", "/again.js", "/again.js", "/remote.js", "/broken.js", "/folder.js", "/gone.js"]
    {
        let (shown, _) = tree.translated(&mut maps, file, None);
        assert!(shown.starts_with(&format!("u {file}:")), "{shown}");
    }
    // Of a process that began before its files were put there.
    let (shown, lost) = tree.translated(&mut maps, "/good.js", Some(SystemTime::UNIX_EPOCH));
    assert_eq!(shown, "keepCart /src/session.ts:19:16");
    let firsts: Vec<_> =
        lost.iter().map(|lost| (&lost[..1], lost.rsplit_once("(first: ").unwrap().1)).collect();
    assert_eq!(
        firsts,
        [
            ("1", "/gone.js)"),
            ("2", "/missing.js)"),
            ("1", "/remote.js)"),
            ("1", "/folder.js)"),
            ("1", "/broken.js)"),
            ("1", "/good.js)"),
        ],
        "{lost:#?}"
    );
}

#[test]
fn a_process_s_files_are_read_once_and_shared_by_those_that_run_the_same() {
    let tree = Tree::new("shared", &[("dist/app.js", BUNDLE), ("dist/app.js.map", MAP)]);
    let mut maps = SourceMaps::default();
    let mut first = ProcessFiles::below(&tree.0, None).unwrap();
    let text = Text::new(BUNDLE);
    let mut one = frame(&text, "j", ("function j(", 10), "Array.from");
    "/dist/app.js".clone_into(&mut one.file);
    let mut other = one.clone();
    maps.translate(&mut first, &mut one);
    // Had it been read again, there would be no map.
    fs::remove_file(tree.0.join("dist/app.js.map")).unwrap();
    let mut second = ProcessFiles::below(&tree.0, None).unwrap();
    maps.translate(&mut second, &mut other);
    assert_eq!(shown(&one), "rememberAnswer /src/server.ts:21:18");
    assert_eq!(shown(&other), shown(&one));
    assert_eq!(maps.losses().count(), 0);
}
