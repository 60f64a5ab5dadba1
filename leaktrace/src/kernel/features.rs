//! What this kernel and this user can do, asked before anything is loaded: one missing thing, one message.

use std::{fs, io, path::Path};

use thiserror::Error;

/// Why tracing cannot start on this machine.
#[derive(Debug, Error)]
pub enum Missing {
    #[error(
        "no permission to load eBPF programs: this process lacks {}.\n\
         Run it as root (sudo leaktrace ...), or give it these: sudo setcap {} $(which leaktrace)",
        .0.join(", "), setcap(.0)
    )]
    Capabilities(Vec<&'static str>),
    #[error(
        "this kernel is {found}; leaktrace needs {needed} or newer ({why}).\n\
         Trace on a host with a newer kernel, or update this one"
    )]
    Kernel { found: String, needed: &'static str, why: &'static str },
    #[error(
        "this kernel has no uprobes: {path} is not there ({source}).\n\
         It must be built with CONFIG_UPROBE_EVENTS=y (and /sys must be mounted)"
    )]
    Uprobes { path: &'static str, source: io::Error },
    #[error(
        "this kernel does not describe its types: {path} cannot be read ({source}).\n\
         It must be built with CONFIG_DEBUG_INFO_BTF=y (and /sys must be mounted)"
    )]
    Btf { path: &'static str, source: io::Error },
    #[error(
        "leaktrace runs in a pid namespace of its own, where the kernel's process numbers differ.\n\
         Run it on the host, or its container with --pid=host"
    )]
    PidNamespace,
    #[error(
        "this user may not listen for mappings (perf_event_open: {error}): kernel.perf_event_paranoid is {paranoid}; \
         above 2 some kernels (Debian's, Ubuntu's) want CAP_SYS_ADMIN for it, and up to 2 a seccomp profile refuses it.\n\
         Set it to the kernel's own default: sudo sysctl kernel.perf_event_paranoid=2 (or run leaktrace as root, or give it \
         CAP_SYS_ADMIN too); run its container with seccomp=unconfined"
    )]
    PerfEvents { paranoid: String, error: io::Error },
}

impl Missing {
    /// What the kernel's answer to `perf_event_open` says is missing, if it refused.
    #[must_use]
    pub fn perf_events(error: &io::Error) -> Option<Self> {
        let number = error.raw_os_error().filter(|number| matches!(*number, libc::EACCES | libc::EPERM))?;
        let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        Some(Self::PerfEvents {
            paranoid: paranoid.trim().to_owned(),
            error: io::Error::from_raw_os_error(number),
        })
    }
}

const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// The kernel's type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Capability bits, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>.
/// `CAP_SYS_ADMIN` stands for all but the last.
const CAP_SYS_ADMIN: u32 = 21;
const NEEDED: [(u32, &str); 4] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (19, "CAP_SYS_PTRACE"), (2, "CAP_DAC_READ_SEARCH")];

/// Checks in the order in which a user would mend them.
pub fn check() -> Result<(), Missing> {
    let missing = missing_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    if !missing.is_empty() {
        return Err(Missing::Capabilities(missing));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    check_release(release.trim())?;
    readable(UPROBE_TYPE).map_err(|source| Missing::Uprobes { path: UPROBE_TYPE, source })?;
    readable(BTF).map_err(|source| Missing::Btf { path: BTF, source })?;
    if !crate::process::in_initial_pid_namespace().unwrap_or(true) {
        return Err(Missing::PidNamespace);
    }
    Ok(())
}

fn readable(path: &str) -> io::Result<()> {
    fs::File::open(Path::new(path)).map(drop)
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        // No such line: let the kernel decide.
        .unwrap_or(u64::MAX);
    let has = |bit: u32| effective & 1 << bit != 0;
    let admin = has(CAP_SYS_ADMIN);
    NEEDED
        .into_iter()
        .filter(|(bit, _)| !(has(*bit) || admin && *bit >= CAP_SYS_ADMIN))
        .map(|(_, name)| name)
        .collect()
}

fn setcap(names: &[&str]) -> String {
    format!("{}+ep", names.join(",").to_lowercase())
}

fn check_release(release: &str) -> Result<(), Missing> {
    // A release that does not start with two numbers is not judged: loading will tell.
    if version(release).is_some_and(|version| version < (5, 17)) {
        return Err(Missing::Kernel { found: release.to_owned(), needed: "5.17", why: "for bpf_loop" });
    }
    Ok(())
}

/// The first two numbers of a kernel's release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_lacks_nothing_and_a_plain_user_everything() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(
            missing_capabilities("CapEff:\t0000000000000000\n"),
            ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]
        );
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_but_not_for_ptrace() {
        let admin_only = format!("CapEff:\t{:016x}\n", 1u64 << CAP_SYS_ADMIN);
        assert_eq!(missing_capabilities(&admin_only), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
    }

    #[test]
    fn who_may_not_listen_is_told_what_to_set() {
        let refused = Missing::perf_events(&io::Error::from_raw_os_error(libc::EACCES)).unwrap().to_string();
        assert!(refused.contains("sysctl kernel.perf_event_paranoid=2"), "{refused}");
        assert!(Missing::perf_events(&io::Error::from_raw_os_error(libc::EMFILE)).is_none());
    }

    #[test]
    fn kernels_before_bpf_loop_are_refused_by_name() {
        assert!(check_release("5.17.0").is_ok());
        assert!(check_release("6.18.44-fc-v782").is_ok());
        assert!(check_release("something").is_ok());
        let message = check_release("5.10.0-30-amd64").unwrap_err().to_string();
        assert!(message.contains("5.10.0-30-amd64") && message.contains("5.17"), "{message}");
    }
}
