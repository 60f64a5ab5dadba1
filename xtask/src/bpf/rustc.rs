//! Stands before rustc while the kernel side is built, so that symbol names do not depend on where the
//! checkout is.
//!
//! cargo makes the hash in them (`-C metadata`) from the path of a crate that is outside its workspace, as
//! leaktrace-common is; the names end up in the object's BTF. Package, crate and version say as much.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use super::TARGET;

/// Set for the rustc calls of `cargo xtask bpf` only.
pub(super) const MARK: &str = "LEAKTRACE_XTASK_AS_RUSTC";

/// cargo calls a wrapper as `wrapper rustc ARGUMENTS`. None: this is xtask called by a person.
pub(crate) fn if_called_as_rustc() -> Option<ExitCode> {
    env::var_os(MARK)?;
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next()?;
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let arguments = with_fixed_metadata(arguments.collect(), &format!("{package}-{version}"));
    let error = Command::new(&rustc).args(arguments).exec();
    eprintln!("error: cannot start {}: {error}", rustc.display());
    Some(ExitCode::FAILURE)
}

/// Only what is compiled for the BPF target: build scripts and macros run here and leave no names behind.
fn with_fixed_metadata(mut arguments: Vec<OsString>, metadata: &str) -> Vec<OsString> {
    if arguments.windows(2).any(|pair| pair[0] == "--target" && pair[1] == TARGET) {
        for argument in &mut arguments {
            if argument.to_str().is_some_and(|text| text.starts_with("metadata=")) {
                *argument = format!("metadata={metadata}").into();
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        with_fixed_metadata(arguments, "p-1").join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn metadata_is_fixed_for_the_bpf_target_alone() {
        assert_eq!(
            fixed("--crate-name c --target bpfel-unknown-none -C metadata=4f"),
            "--crate-name c --target bpfel-unknown-none -C metadata=p-1"
        );
        assert_eq!(fixed("--crate-name c -C metadata=4f"), "--crate-name c -C metadata=4f");
    }
}
