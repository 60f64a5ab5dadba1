//! Harness of the tests on real processes: compiles the programs of `testprogs/`, starts each on its own copy of
//! libc, attaches leaktrace, and holds its report against what the program says of itself.
//!
//! The order of one test, none of it by time:
//! 1. the program prints `ready PID` and waits;
//! 2. leaktrace attaches and says `attached ...` on stderr;
//! 3. the program is let go, works, prints its truth as JSON lines and `done`, and waits;
//! 4. leaktrace is ended by SIGINT and leaves its report;
//! 5. the program is let end.
//!
//! Every process that is started here is ended by its pid when its value is dropped.

pub mod agent;
pub mod child;
pub mod compile;
pub mod http;
pub mod javascript;
pub mod load;
pub mod memory;
pub mod node;
pub mod private_libs;
pub mod program;
pub mod report;
pub mod skip;
pub mod truth;

use std::path::{Path, PathBuf};

pub use agent::Agent;
pub use program::Program;
pub use report::Report;
pub use truth::assert_exact;

/// The checkout's folder.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds: the folder above `debug/deps/`, in which every test binary is.
#[must_use]
pub fn target() -> PathBuf {
    let binary = std::env::current_exe().unwrap_or_default();
    binary
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"))
        .map_or_else(|| checkout().join("target"), |profile| profile.parent().unwrap_or(profile).to_owned())
}

/// # Panics
/// Without root, which placing probes takes. `cargo xtask test` leaves these tests out then.
pub fn needs_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test places probes, which needs root: `sudo -E env PATH=\"$PATH\" cargo xtask test`"
    );
}

/// One whole test: `program` traced from before its work to after it, its report held against its truth.
///
/// # Panics
/// When anything fails or any number differs.
pub fn trace(program: &mut Program, flags: &[&str]) -> Report {
    let agent = Agent::attach(&[program.pid()], flags).expect("leaktrace attaches");
    program.work().expect("the program works");
    let report = agent.stop().expect("leaktrace reports");
    program.end().expect("the program ends well");
    report
}
