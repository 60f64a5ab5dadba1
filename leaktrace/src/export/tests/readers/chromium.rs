//! What a browser makes of the flame graph, the page, and, by speedscope, of the profiles.

use std::{fs, process::Command};

use super::{
    super::{super::*, world::world},
    Folder,
    browser::Browser,
    is_there, says, speedscope, url,
};
use crate::{
    report::{Exporter, tests::written},
    skip,
};

/// The middle of the flame graph's frame of this function.
const MIDDLE: &str = "(function () {
    const frame = [...document.querySelectorAll('#frames > g')]
        .find(group => group.querySelector('title').textContent.startsWith('parse_req '));
    const { x, y, width, height } = frame.querySelector('rect').getBoundingClientRect();
    return [x + width / 2, y + height / 2, width];
})()";

/// Not before: the picture fits itself to the window first.
const IS_SET_UP: &str = "document.readyState === 'complete' && typeof frames === 'object' && !!frames \
    && !!frames.attributes && frames.attributes.width.value !== '1180'";

const IS_ZOOMED: &str = "!document.getElementById('unzoom').classList.contains('hide')";

#[test]
fn a_click_on_a_frame_of_the_flame_graph_zooms_in() {
    if !is_there("chromium", "--version") {
        return;
    }
    let folder = Folder::new("svg");
    let file = folder.write("live.svg", &Flamegraph::default(), &world());
    let mut browser = Browser::open("svg-browser", &url(&file));
    browser.until(None, IS_SET_UP);
    let before = browser.value(None, MIDDLE);
    assert_eq!(browser.value(None, IS_ZOOMED), false);
    browser.click(before[0].as_f64().unwrap(), before[1].as_f64().unwrap());
    browser.until(None, IS_ZOOMED);
    let after = browser.value(None, MIDDLE);
    assert!(after[2].as_f64() > before[2].as_f64(), "{before} {after}");
    assert!(browser.requests().is_empty(), "{:?}", browser.requests());
    browser.picture("flamegraph");
}

#[test]
fn the_page_shows_everything_with_no_network_and_its_flame_graph_zooms() {
    if !is_there("chromium", "--version") {
        return;
    }
    let folder = Folder::new("html");
    let file = folder.write("report.html", &Html::default(), &world());
    let mut browser = Browser::open("html-browser", &url(&file));
    let headings = browser.value(None, "[...document.querySelectorAll('h2')].map(title => title.id).join()");
    assert_eq!(headings, "verdicts,flamegraph,growth,collections,stacks,coverage");
    assert_eq!(browser.value(None, "document.querySelectorAll('tr').length"), world().stacks.len() + 1);

    let picture = browser.frame();
    let picture = Some(picture.as_str());
    browser.until(picture, IS_SET_UP);
    browser.until(picture, &format!("{MIDDLE}[2] > 0"));
    browser.picture("page");
    let inner = browser.value(picture, MIDDLE);
    let outer = "(function () {
        const frame = document.querySelector('iframe');
        const { x, y } = frame.getBoundingClientRect();
        return [x + frame.clientLeft, y + frame.clientTop];
    })()";
    let outer = browser.value(None, outer);
    let at = |axis: usize| inner[axis].as_f64().unwrap() + outer[axis].as_f64().unwrap();
    // Once the browser knows where it drew the frame, which is in another process.
    for _ in 0..50 {
        browser.click(at(0), at(1));
        if browser.value(picture, IS_ZOOMED) == true {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    browser.picture("page-zoomed");
    let after = browser.value(picture, MIDDLE);
    assert!(
        after[2].as_f64() > inner[2].as_f64(),
        "{inner} at {outer}, then {after}: {:?}",
        browser.errors()
    );
    assert!(browser.requests().is_empty(), "{:?}", browser.requests());
}

/// Where Chromium has its DevTools; Debian's has them within.
const DEVTOOLS: &str = "devtools://devtools/bundled/devtools_app.html";

#[test]
fn devtools_own_front_end_sums_a_heapprofile_up_to_the_same() {
    if !is_there("chromium", "--version") {
        return;
    }
    let report = world();
    let profile = written(&HeapProfile::default(), &report);
    let mut browser = Browser::open("devtools", DEVTOOLS);
    // Its modules are made anew for each release, and this class is of none of its interfaces.
    browser.value(
        None,
        &format!(
            "window.found = '';
             import('./panels/profiler/profiler.js').then(({{ HeapProfileView }}) => {{
                 const model = new HeapProfileView.SamplingHeapProfileModel({profile});
                 const processes = model.root.children.map(child => child.total);
                 window.found = {{ total: model.total, processes, deep: model.maxDepth }};
             }}).catch(error => {{ window.found = String(error); }}); 1"
        ),
    );
    browser.until(None, "window.found !== ''");
    let found = browser.value(None, "window.found");
    if !found.is_object() {
        skip::skip("devtools", &format!("this Chromium's DevTools cannot be asked: {found}"));
        return;
    }
    let live: u64 = Metric::LiveBytes.of(&report).iter().sum();
    assert_eq!(found["total"], live, "{found}");
    let processes = found["processes"].as_array().unwrap();
    assert!(processes.len() > 1, "{found}");
    assert_eq!(processes.iter().map(|bytes| bytes.as_u64().unwrap()).sum::<u64>(), live);
    assert!(found["deep"].as_u64() > Some(2), "{found}");
}

#[test]
fn speedscope_s_own_importer_opens_every_profile() {
    if !is_there("chromium", "--version") {
        return;
    }
    let Some(release) = speedscope() else { return };
    let folder = Folder::new("speedscope");
    let (folded, heapprofile) = (Folded::default(), HeapProfile::default());
    let exporters: [(&str, &dyn Exporter); 4] = [
        ("live.speedscope.json", &Speedscope::default()),
        ("live.heapprofile", &heapprofile),
        ("live.pb.gz", &Pprof::default()),
        ("live.folded", &folded),
    ];
    for (name, exporter) in exporters {
        let file = folder.write(name, exporter, &world());
        // As its own command does: the file comes as a script.
        let data = says(Command::new("base64").args(["-w", "0"]).arg(&file));
        let script = folder.0.join(format!("{name}.js"));
        fs::write(&script, format!("speedscope.loadFileFromBase64('{name}', '{data}')")).unwrap();
        let page = format!("{}#localProfilePath={}", url(&release.join("index.html")), script.display());
        let mut browser = Browser::open(&format!("speedscope-{name}"), &page);
        // Its title names the profile once it is read.
        browser.until(None, "document.title.includes(' - speedscope')");
        let shown = browser.value(None, "document.title + document.body.innerText");
        assert!(!shown.as_str().unwrap().contains("Something went wrong"), "{name}: {shown}");
        assert!(browser.errors().is_empty(), "{name}: {:?}", browser.errors());
        browser.picture(&format!("speedscope-{name}"));
    }
}
