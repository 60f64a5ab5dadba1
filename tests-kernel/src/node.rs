//! The builds of node that `.ci/run` put beside what cargo builds, and programs in them.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{checkout, private_libs::PrivateLibs, program::Program, skip::skip, target};

/// A build of node, if it is there; if it is not, the test is skipped.
#[must_use]
pub fn node(major: u32) -> Option<PathBuf> {
    let path = target().join(format!("node/{major}/bin/node"));
    if !path.exists() {
        skip(&format!("node-{major}"), &format!("there is no node {major} at {}", path.display()));
        return None;
    }
    Some(path)
}

impl Program {
    /// A program of `testprogs/` in this node.
    pub fn node(node: &std::path::Path, flags: &[&str], script: &str) -> Result<Self> {
        Self::node_with(node, flags, script, &[])
    }

    /// The same with arguments of its own.
    pub fn node_with(
        node: &std::path::Path,
        flags: &[&str],
        script: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(node);
        // Optimised code comes and goes with how busy the machine is, but never what a flag here asks for.
        command.args(flags).arg(checkout().join("testprogs").join(script)).args(arguments);
        command.env_remove("NODE_OPTIONS");
        let libs = PrivateLibs::copy(&[])?;
        command.env("LD_LIBRARY_PATH", libs.folder()).env_remove("LD_PRELOAD");
        Self::start_command(&mut command, libs)
    }
}

/// One test a major, named for it.
#[macro_export]
macro_rules! on_every_node {
    ($($test:ident)*) => {
        $(mod $test {
            $crate::on_every_node!(@ $test node_18 18, node_20 20, node_22 22, node_24 24, node_25 25, node_26 26);
        })*
    };
    (@ $test:ident $($name:ident $major:literal),*) => {
        $(#[test]
        fn $name() {
            $crate::needs_root();
            if let Some(node) = $crate::node::node($major) {
                $crate::node::at_most_twice(|| super::$test($major, &node));
            }
        })*
    };
}

/// Estimates carry 95 % errors, and a busy machine shifts collections: what fails once is tried once more, and what
/// fails twice fails.
pub fn at_most_twice(test: impl Fn()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&test)).is_err() {
        eprintln!("once more");
        test();
    }
}
