//! What is derived of the V8 in node's official builds, kept as snapshots: a new release that differs is seen here
//! before anyone traces it.
//!
//! The builds lie in `target/node/MAJOR/bin/node`, where `.ci/run` puts some of them; those that are not there are
//! skipped and named.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in helpers too")]

// The harness of the kernel tests is built on this crate and so cannot be a dependency.
#[path = "../../tests-kernel/src/skip.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the harness, and `cargo xtask test` reads its mark"
)]
mod skip;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use leaktrace::{
    binary::Binary,
    runtime::v8::{
        detect::{Detected, V8, Why, detect},
        layout::Layout,
    },
};
use leaktrace_common::v8::{Point, can};

const MAJORS: [u32; 6] = [18, 20, 22, 24, 25, 26];

/// `target/node`, found from the test program in `target/debug/deps`.
fn builds() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("node")
}

fn read(major: u32) -> Option<Vec<u8>> {
    let path = builds().join(format!("{major}/bin/node"));
    let data = fs::read(&path).ok();
    if data.is_none() {
        let name = format!("node-{major}");
        assert!(!skip::is_expected(&name), "no {}, which should be there", path.display());
    }
    data
}

/// Every build that is there, with its V8. Without any the test is skipped.
fn each_build() -> impl Iterator<Item = &'static (u32, V8)> {
    if BUILDS.is_empty() {
        skip::skip("node", "no build of node is there");
    }
    BUILDS.iter()
}

/// Read once: a build has 100 MB.
static BUILDS: LazyLock<Vec<(u32, V8)>> = LazyLock::new(|| {
    let read = MAJORS.into_iter().filter_map(|major| Some((major, read(major)?)));
    read.map(|(major, data)| match detect(&Binary::parse(&data).unwrap(), &data) {
        Detected::Usable(v8) => (major, *v8),
        other => panic!("node {major}: {other:?}"),
    })
    .collect()
});

#[test]
fn official_builds_have_every_capability() {
    for (major, v8) in each_build() {
        assert_eq!(v8.lacks, [], "node {major}");
        assert_eq!(v8.left_out, Vec::<String>::new(), "node {major}");
        let kernel = v8.kernel_layout(0);
        assert_eq!(kernel.can, can::FRAMES | can::SAMPLES | can::YOUNG | can::OLD | can::TYPES);
        assert_eq!(kernel.allocator_area, 0, "to be checked on the live process first");
    }
}

#[test]
fn no_function_that_javascript_calls_is_probed_and_none_twice() {
    for (major, v8) in each_build() {
        let mut seen = Vec::new();
        for probe in &v8.points {
            let forbidden = ["Runtime_", "Builtin", "FunctionCallback", "PropertyCallback"];
            assert!(!forbidden.iter().any(|part| probe.symbol.contains(part)), "node {major}: {probe:?}");
            assert!(!seen.contains(&(probe.at, probe.returns)), "node {major}: {probe:?}");
            seen.push((probe.at, probe.returns));
        }
    }
}

#[test]
fn what_is_derived_of_each_major() {
    for (major, v8) in each_build() {
        insta::assert_snapshot!(format!("node_{major}"), described(v8));
    }
}

/// Without what every patch release changes: addresses, the version's last number and the sizes of tables.
fn described(v8: &V8) -> String {
    let version = v8.version;
    let mut text = format!("V8 {}.{}\n\n", version.major, version.minor);
    for probe in &v8.points {
        let at = if probe.returns { "return" } else { "entry" };
        let size =
            if probe.size_argument == 0 { String::new() } else { format!(" size {}", probe.size_argument) };
        let clone = probe.symbol.split_once('.').map_or("", |(_, suffix)| suffix.split('.').next().unwrap());
        let symbol = probe.symbol.split('.').next().unwrap();
        writeln!(text, "{:?} {at}{size}: {symbol} {clone}", probe.point).unwrap();
    }
    let area = v8.allocator_area.unwrap();
    writeln!(text, "\nallocator_area: {area:#x}").unwrap();
    let kernel = v8.kernel_layout(0);
    assert!(kernel.interpreter[0] < kernel.interpreter[1]);
    let kernel = leaktrace_common::v8::Layout { builtins: [0, 0], interpreter: [0, 0], ..kernel };
    writeln!(text, "{kernel:#x?}").unwrap();
    let mut layout: Layout = v8.layout.clone().unwrap();
    assert!(layout.bytecode.sizes.len() > 500 && layout.types.names.len() > 100);
    layout.version.build = 0;
    layout.version.patch = 0;
    layout.bytecode.sizes.clear();
    layout.types.names.retain(|(_, name)| name.starts_with("JS"));
    writeln!(text, "{layout:#x?}").unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_builtins_code_is_there_and_allocators_left_their_spaces_with_v8_12() {
    for (major, v8) in each_build() {
        let builtins = v8.builtins.clone().unwrap();
        assert!(builtins.end.0 - builtins.start.0 > 1 << 20, "node {major}: {builtins:?}");
        let slow = v8.points.iter().any(|probe| probe.point == Point::AllocateSlow);
        assert_eq!(slow, *major >= 22);
    }
}

#[test]
fn a_stripped_copy_keeps_what_is_exported() {
    let Some(strip) =
        ["/usr/bin/strip", "/usr/local/bin/strip"].into_iter().find(|path| Path::new(path).exists())
    else {
        skip::skip("strip", "there is no strip");
        return;
    };
    for (major, _) in each_build() {
        let (major, program) = (*major, builds().join(format!("{major}/bin/node")));
        let copy = std::env::temp_dir().join(format!("leaktrace-stripped-{major}-{}", std::process::id()));
        let status = std::process::Command::new(strip).arg("-o").arg(&copy).arg(&program).status().unwrap();
        assert!(status.success());
        let data = fs::read(&copy).unwrap();
        fs::remove_file(&copy).unwrap();
        match detect(&Binary::parse(&data).unwrap(), &data) {
            // Up to node 22 V8's functions are exported; the builtins and the bytecodes' sizes never are.
            Detected::Usable(v8) => {
                assert!(major <= 22, "node {major}: {:?}", v8.lacks);
                let lacking: Vec<_> = v8.lacks.iter().map(ToString::to_string).collect();
                insta::assert_snapshot!(format!("node_{major}_stripped"), lacking.join("\n"));
            }
            Detected::Unusable(unusable) => {
                assert!(major > 22, "node {major}: {unusable}");
                assert_eq!(unusable.why, Why::Stripped);
                assert!(unusable.version.is_some());
            }
            Detected::NotV8 => panic!("node {major}: still exports V8's interface"),
        }
    }
}
