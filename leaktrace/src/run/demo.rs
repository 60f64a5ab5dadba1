//! The demo's programs: a node service where node is installed, else a native one inside this very binary.

#![allow(unsafe_code, reason = "the demo's blocks are asked of libc, which leaktrace's own memory is not of")]

use std::{
    alloc::{GlobalAlloc as _, Layout, System, handle_alloc_error},
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    ptr::NonNull,
    thread,
    time::Duration,
};

use crate::binary::loader;

const NODE_SERVICE: &str = include_str!("../../demo/leak.js");

/// What the program prints when it has started; node takes its time to.
const SERVING: &str = "serving";

/// The demo's program, running. It is ended, and its files go, when this is dropped.
pub struct Demo {
    program: Child,
    folder: Option<PathBuf>,
}

impl Demo {
    /// Starts it and waits until it serves. `node`: yes, no, or where it is installed.
    pub fn start(node: Option<bool>) -> io::Result<Self> {
        let (mut command, folder) = if node.unwrap_or_else(|| loader::in_path(OsStr::new("node")).is_some()) {
            let folder = env::temp_dir().join(format!("leaktrace-demo-{}", process::id()));
            fs::create_dir(&folder)?;
            let script = folder.join("leak.js");
            fs::write(&script, NODE_SERVICE)?;
            let mut node = Command::new("node");
            node.arg(script);
            (node, Some(folder))
        } else {
            let mut native = Command::new(env::current_exe()?);
            native.arg("demo-program");
            (native, None)
        };
        let program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut demo = Self { program, folder };
        let mut line = String::new();
        if let Some(stdout) = demo.program.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim() != SERVING {
            return Err(io::Error::other("the demo's program ended before it served anything"));
        }
        Ok(demo)
    }

    pub fn pid(&self) -> u32 {
        self.program.id()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Nothing is lost if one of these fails: a process that has ended, a small file in the folder for such.
        let _ = self.program.kill();
        let _ = self.program.wait();
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A block filled with a byte. In stacks it is of the function that asks for it, which one made by a function would not be.
macro_rules! block {
    ($byte:expr, $size:expr) => {{
        let layout = const { Layout::new::<[u8; $size]>() };
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { System.alloc(layout) });
        let start = start.unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: so many bytes were given, to nobody else.
        unsafe { start.as_ptr().write_bytes($byte, layout.size()) };
        Block { start, layout }
    }};
}

/// A service that answers requests and forgets to forget, until it is stopped.
pub fn native_service() -> ! {
    let mut sessions = Vec::new();
    let mut cache: [Option<Block>; 64] = [const { None }; 64];
    println!("{SERVING}");
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
fn open_session(request: usize) -> Block {
    block!(request as u8, 16 * 1024)
}

/// Not a leak: a cache with a bound.
#[inline(never)]
fn remember(request: usize) -> Block {
    block!(request as u8, 8 * 1024)
}

/// Not a leak: in use for a moment only.
#[inline(never)]
fn render(request: usize) -> usize {
    std::hint::black_box(block!(request as u8, 4 * 1024)).layout.size()
}

/// Bytes of libc's malloc, as a program's own usually are.
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: it was given so, and is given back once.
        unsafe { System.dealloc(self.start.as_ptr(), self.layout) };
    }
}
