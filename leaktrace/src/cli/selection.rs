//! Which processes, where none is named by its pid.

use super::UsageError;
use crate::process::Selection;

/// Where cgroups are mounted: a path that begins so means the same as one without it.
const CGROUPS: &str = "/sys/fs/cgroup";

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Which processes (of all, where no --pid is given)")]
pub(super) struct SelectionArgs {
    /// Only programs of this name; may be given several times, as all of these
    #[arg(long = "comm", value_name = "NAME")]
    comms: Vec<String>,

    /// Only processes of this user, by name or number
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,

    /// Only processes in this control group or one below it, e.g. /system.slice/nginx.service
    #[arg(long = "cgroup", value_name = "PATH")]
    cgroups: Vec<String>,

    /// Only processes in the container with this id or beginning of one (as docker ps shows it), or LXC name
    #[arg(long = "container", value_name = "ID")]
    containers: Vec<String>,

    /// Leave out programs of this name
    #[arg(long = "exclude", value_name = "NAME")]
    excluded: Vec<String>,
}

impl SelectionArgs {
    /// # Errors
    /// There is no such user, or a control group without a name.
    pub(super) fn plan(self) -> Result<Selection, UsageError> {
        let Self { comms, users, cgroups, containers, excluded } = self;
        let users = users.into_iter().map(user).collect::<Result<_, _>>()?;
        let cgroups = cgroups.iter().map(|path| cgroup(path)).collect();
        Ok(Selection { comms, users, cgroups, containers, excluded })
    }
}

fn user(name: String) -> Result<u32, UsageError> {
    let found = name.parse().ok().or_else(|| Some(uzers::get_user_by_name(&name)?.uid()));
    found.ok_or(UsageError::NoSuchUser(name))
}

/// As /proc/PID/cgroup has it, without a slash at the end.
fn cgroup(path: &str) -> String {
    let path = path.strip_prefix(CGROUPS).unwrap_or(path).trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_means_the_same_however_it_is_written() {
        for path in ["web.service", "/web.service/", "/sys/fs/cgroup/web.service"] {
            assert_eq!(cgroup(path), "/web.service");
        }
        assert_eq!(cgroup("/"), "", "every one is below it");
    }

    #[test]
    fn a_user_is_known_by_name_and_by_number() {
        assert_eq!(user("root".to_owned()), Ok(0));
        assert_eq!(user("4711".to_owned()), Ok(4711));
        assert_eq!(user("nobody here".to_owned()), Err(UsageError::NoSuchUser("nobody here".to_owned())));
    }
}
