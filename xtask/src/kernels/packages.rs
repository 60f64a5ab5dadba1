//! Debian packages, downloaded once and unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::command::{answer, run};

pub(crate) struct Kernel {
    /// The package's name, which has the exact version.
    pub name: String,
    pub image: PathBuf,
}

/// The newest kernel of these first numbers that apt knows.
pub(crate) fn kernel(folder: &Path, version: &str) -> Result<Kernel> {
    let pattern = format!("^linux-image-{}\\..*-cloud-amd64$", version.replace('.', "\\."));
    let known = answer(Command::new("apt-cache").args(["search", "--names-only", &pattern]));
    let known = known.context("apt-cache search failed: `sudo apt-get update`")?;
    let Some(name) = newest(&known) else {
        bail!(
            "apt knows no kernel {version} for the cloud: `sudo apt-get update`. \
             Debian 12 has 6.1 and (in its security updates) 6.12, Debian 13 has 6.12"
        );
    };
    let unpacked = unpacked(folder, name)?;
    let image = unpacked.join("boot").join(name.replacen("linux-image-", "vmlinuz-", 1));
    if !image.exists() {
        bail!("{name} has no {}", image.display());
    }
    Ok(Kernel { name: name.to_owned(), image })
}

/// A shell and its tools in one file that needs no library.
pub(crate) fn busybox(folder: &Path) -> Result<PathBuf> {
    let unpacked = unpacked(folder, "busybox-static")?;
    // Where it lies depends on the release.
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.join(place));
    places.into_iter().find(|path| path.exists()).context("busybox-static has no busybox")
}

/// By the numbers of the version, so that 6.1.0-9 comes before 6.1.0-56.
fn newest(list: &str) -> Option<&str> {
    let numbers = |name: &&str| -> Vec<u32> {
        name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    list.lines().filter_map(|line| line.split_whitespace().next()).max_by_key(numbers)
}

fn unpacked(folder: &Path, name: &str) -> Result<PathBuf> {
    let to = folder.join(name);
    if to.exists() {
        return Ok(to);
    }
    let download = folder.join("download");
    fs::create_dir_all(&download)?;
    run(Command::new("apt-get").current_dir(&download).args(["download", "--quiet=2", name]))
        .with_context(|| format!("cannot get {name}: `sudo apt-get update`, if apt's lists are old"))?;
    let archive = fs::read_dir(&download)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}_")))
        })
        .with_context(|| format!("apt-get download left no file of {name}"))?;
    // A name that is in place stands for a whole package.
    let partly = folder.join(format!("{name}.partly"));
    run(Command::new("dpkg-deb").arg("-x").args([&archive, &partly]))?;
    fs::remove_file(archive)?;
    fs::rename(partly, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_told_by_numbers_and_not_by_letters() {
        let list = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                    linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                    linux-image-6.1.0-48-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n";
        assert_eq!(newest(list), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest("\n"), None);
    }
}
