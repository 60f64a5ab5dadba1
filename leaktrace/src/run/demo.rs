//! The demo's programs: a node service where node is installed, else a native one inside this very binary.

use std::{env, ffi::OsString, io, thread, time::Duration};

use super::launch;

const NODE_SERVICE: &str = include_str!("../../demo/leak.js");

/// The command that starts a small leaking program. `node`: yes, no, or where it is installed.
pub fn command(node: Option<bool>) -> io::Result<Vec<OsString>> {
    let node_program = OsString::from("node");
    let wanted = node.unwrap_or_else(|| launch::find_program(&node_program).is_some());
    if wanted {
        return Ok(vec![node_program, "--eval".into(), NODE_SERVICE.into()]);
    }
    Ok(vec![env::current_exe()?.into_os_string(), "demo-program".into()])
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
