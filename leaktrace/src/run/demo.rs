//! The demo's programs: a node service where node is installed, else a native one inside this very binary.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use super::launch;

const NODE_SERVICE: &str = include_str!("../../demo/leak.js");

/// How to start the demo's program. Its files go when this is dropped.
pub struct Demo {
    pub command: Vec<OsString>,
    folder: Option<PathBuf>,
}

impl Demo {
    /// `node`: yes, no, or where it is installed.
    pub fn prepare(node: Option<bool>) -> io::Result<Self> {
        let node_program = OsString::from("node");
        if !node.unwrap_or_else(|| launch::find_program(&node_program).is_some()) {
            let command = vec![env::current_exe()?.into_os_string(), "demo-program".into()];
            return Ok(Self { command, folder: None });
        }
        let folder = env::temp_dir().join(format!("leaktrace-demo-{}", process::id()));
        fs::create_dir(&folder)?;
        let script = folder.join("leak.js");
        // Node writes the names of JavaScript functions to a perf map with these.
        let flags = ["--perf-basic-prof", "--interpreted-frames-native-stack"].map(OsString::from);
        let command =
            [node_program].into_iter().chain(flags).chain([script.clone().into_os_string()]).collect();
        let demo = Self { command, folder: Some(folder) };
        fs::write(script, NODE_SERVICE)?;
        Ok(demo)
    }

    /// Removes the perf map that the program has left.
    pub fn clean_up(&self, pid: u32) {
        if self.folder.is_some() {
            // Node may have been ended before it wrote one.
            let _ = fs::remove_file(Path::new("/tmp").join(format!("perf-{pid}.map")));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Left behind, it is a small file in the folder for such.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A service that answers requests and forgets to forget, until it is stopped.
pub fn native_service() -> ! {
    let mut sessions = Vec::new();
    let mut cache: [Option<Box<[u8]>>; 64] = [const { None }; 64];
    for request in 0usize.. {
        sessions.push(open_session(request));
        cache[request % cache.len()] = Some(remember(request));
        std::hint::black_box(render(request));
        thread::sleep(Duration::from_millis(2));
    }
    unreachable!("the requests do not run out")
}

/// The leak: every session is kept.
#[inline(never)]
fn open_session(request: usize) -> Box<[u8]> {
    vec![request as u8; 16 * 1024].into_boxed_slice()
}

/// Not a leak: a cache with a bound.
#[inline(never)]
fn remember(request: usize) -> Box<[u8]> {
    vec![request as u8; 8 * 1024].into_boxed_slice()
}

/// Not a leak: in use for a moment only.
#[inline(never)]
fn render(request: usize) -> usize {
    std::hint::black_box(vec![request as u8; 4 * 1024]).len()
}
