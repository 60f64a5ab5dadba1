//! Which processes a trace of the whole machine is about.

use std::fs;

/// What the user chose: of each kind that is given, one has to fit. Nothing given fits every process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of programs: the kernel's short one, or that of the file.
    pub comms: Vec<String>,
    /// Effective user ids.
    pub users: Vec<u32>,
    /// Control groups, without a slash at the end: with all below them.
    pub cgroups: Vec<String>,
    /// Beginnings of containers' ids, or names of LXC containers.
    pub containers: Vec<String>,
    /// Names of programs that are left out, whatever else fits.
    pub excluded: Vec<String>,
}

/// As many bytes of a program's name the kernel keeps (`TASK_COMM_LEN` without the zero).
const COMM: usize = 15;
/// Digits of a container's id, and the least of them that are taken for one.
const WHOLE_ID: usize = 64;
const LEAST_OF_ID: usize = 4;

impl Selection {
    /// Whether every process fits.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this process is to be traced as it is now; one that cannot be asked is not.
    #[must_use]
    pub fn fits(&self, pid: u32) -> bool {
        let names = |wanted: &[String]| {
            let names = names_of(pid);
            wanted.iter().any(|wanted| names.iter().any(|name| is_named(name, wanted)))
        };
        if !self.excluded.is_empty() && names(&self.excluded) {
            return false;
        }
        if !self.comms.is_empty() && !names(&self.comms) {
            return false;
        }
        if !self.users.is_empty() && user_of(pid).is_none_or(|user| !self.users.contains(&user)) {
            return false;
        }
        if self.cgroups.is_empty() && self.containers.is_empty() {
            return true;
        }
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let one_of = |wanted: &[String], fits: fn(&str, &str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| paths(&groups).any(|path| fits(path, wanted)))
        };
        one_of(&self.cgroups, is_below) && one_of(&self.containers, is_in_container)
    }
}

/// The kernel's short name and the file's.
fn names_of(pid: u32) -> Vec<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let file = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let file = file.map(|file| super::identity::without_deleted(&file).0);
    let file = file.and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
    comm.map(|comm| comm.trim_end_matches('\n').to_owned()).into_iter().chain(file).collect()
}

fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || (name.len() == COMM && wanted.as_bytes().starts_with(name.as_bytes()))
}

/// The effective user. Not the owner of /proc/PID, which is root's where a process may not be dumped.
fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    super::field(&status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

/// The paths of /proc/PID/cgroup: one with cgroup v2, one for each hierarchy with v1.
fn paths(groups: &str) -> impl Iterator<Item = &str> {
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

fn is_below(path: &str, group: &str) -> bool {
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How the runtimes name a container's group: `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`, `/docker/ID`,
/// `lxc.payload.NAME`.
fn is_in_container(path: &str, wanted: &str) -> bool {
    path.split('/').any(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next().unwrap_or(part);
        let is_id = id.len() == WHOLE_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && wanted.len() >= LEAST_OF_ID && id.starts_with(wanted))
            || part.strip_prefix("lxc.payload.").is_some_and(|name| name == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> u32 {
        std::process::id()
    }

    #[test]
    fn this_process_fits_by_its_own_names_and_user_and_not_by_others() {
        let name = std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let by_name = |name: &str| Selection { comms: vec![name.to_owned()], ..Selection::default() };
        assert!(by_name(&name).fits(own()));
        assert!(!by_name("another").fits(own()));
        assert!(Selection::default().is_all() && Selection::default().fits(own()));
        let user = user_of(own()).unwrap();
        let by_user = |user| Selection { users: vec![user], ..by_name(&name) };
        assert!(by_user(user).fits(own()));
        assert!(!by_user(user + 1).fits(own()), "each kind has to fit");
        assert!(!Selection { excluded: vec![name.clone()], ..by_user(user) }.fits(own()));
    }

    #[test]
    fn a_long_name_fits_by_what_the_kernel_keeps_of_it() {
        assert!(is_named("a-service-with-", "a-service-with-a-long-name"));
        assert!(is_named("node", "node") && !is_named("node", "nodejs") && !is_named("nodejs", "node"));
    }

    #[test]
    fn a_control_group_fits_with_all_below_it() {
        let groups = "12:memory:/system.slice/web.service\n0::/system.slice/web.service/worker\n";
        let found: Vec<_> = paths(groups).collect();
        assert_eq!(found, ["/system.slice/web.service", "/system.slice/web.service/worker"]);
        assert!(found.iter().all(|path| is_below(path, "/system.slice/web.service")));
        assert!(!is_below("/system.slice/web.service-2", "/system.slice/web.service"));
        assert!(!is_below("/", "/system.slice"));
    }

    #[test]
    fn a_container_is_known_by_the_beginning_of_its_id_in_each_runtimes_names() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/kubepods/besteffort/pod1/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert!(is_in_container(&path, "0123456789ab") && is_in_container(&path, &id), "{path}");
            assert!(!is_in_container(&path, "123456789abc") && !is_in_container(&path, "012"), "{path}");
        }
        assert!(is_in_container("/lxc.payload.web/init.scope", "web"));
        assert!(!is_in_container("/lxc.payload.web/init.scope", "we"));
    }
}
