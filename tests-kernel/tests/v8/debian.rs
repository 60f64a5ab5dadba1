//! Node as Debian builds it: V8 in `libnode.so`, with what a library exports and no other symbol.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tests_kernel::{Agent, Program, checkout, needs_root, private_libs::PrivateLibs, skip::skip, target};

use super::INTERVAL;

/// What `.ci/run` unpacked of Debian's packages, to be a root of its own; else the test is skipped.
fn root() -> Option<PathBuf> {
    let root = target().join("debian-node");
    if root.join("usr/bin/node").exists() {
        return Some(root);
    }
    skip("debian-node", &format!("Debian's node is not in {}, `.ci/run` fetches it", root.display()));
    None
}

/// Its scripts lie where it sees them, for as long as the folder's value lives.
fn start(root: &Path, script: &str) -> (tempfile::TempDir, Program) {
    let folder = tempfile::tempdir_in(root).unwrap();
    for name in [script, "v8_protocol.js"] {
        fs::copy(checkout().join("testprogs").join(name), folder.path().join(name)).unwrap();
    }
    let inside = Path::new("/").join(folder.path().file_name().unwrap()).join(script);
    // Its own mounts, since node asks /proc for its memory.
    fs::create_dir_all(root.join("proc")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /usr/bin/node --expose-gc \"$1\"");
    command.arg(root).arg(inside);
    // The certificates that some machines name in there are not in this root.
    command.env_remove("NODE_OPTIONS").env_remove("NODE_EXTRA_CA_CERTS").env_remove("LD_PRELOAD");
    let program = Program::start_command(&mut command, PrivateLibs::copy(&[]).unwrap()).unwrap();
    (folder, program)
}

#[test]
fn v8_in_debian_s_library_is_followed_by_what_it_exports_and_what_is_not_seen_is_said() {
    needs_root();
    let Some(root) = root() else { return };
    let (_folder, mut program) = start(&root, "v8_survival.js");
    let agent = Agent::attach(&[program.pid()], &INTERVAL).unwrap();
    program.work().unwrap();
    let report = agent.stop().unwrap();
    let own = report.javascript(program.pid()).expect("V8 is found in a library");
    program.end().unwrap();
    println!("{}: {:?}\nunseen {:?}\n{:?}", own.engine, own.live, own.unseen, own.types);
    assert!(own.major.count > 0 && own.minor.count > 0, "{own:?}");
    assert!(own.collections.iter().all(|cycle| cycle.pause_ns > 0 && cycle.after.is_some()), "{own:?}");
    assert!(own.live.samples > 0 && own.live.bytes > 0, "{own:?}");
    let named: Vec<u64> = ["leakLarge", "leakClass", "leakText"]
        .map(|site| super::at(&report, "padded.js", site).map(|stack| stack.sums.live_bytes).sum())
        .into();
    match own.unseen.iter().find(|one| one.starts_with("JavaScript frames: ")) {
        // The builtins' code has no symbol there, and nothing else tells where it lies.
        Some(why) => {
            assert!(why.contains("is not among the binary's symbols"), "{why}");
            assert_eq!(named, [0, 0, 0], "frames are said not to be seen");
        }
        None => assert!(named.iter().all(|bytes| *bytes > 0), "{named:?}\n{}", report.overview()),
    }
}
