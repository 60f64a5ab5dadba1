//! An emulated machine: from boot to power-off.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::command::run;

/// The last line of `init.sh` starts with this.
pub(crate) const VERDICT: &str = "leaktrace-kernel-test: ";

/// It takes one to two minutes; `init.sh` ends a case that hangs, so this is for a machine that does.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Room for the kernel, the root and two leaktraces' tables; processors enough that programs run beside one another.
const MEMORY: &str = "768";
const PROCESSORS: &str = "2";

/// What the machine left.
pub(crate) struct Ran {
    pub folder: PathBuf,
    console: String,
    pub took: Duration,
}

impl Ran {
    /// What `init.sh` printed: the firmware clears the screen before, the kernel stamps its own lines.
    pub(crate) fn said(&self) -> String {
        let lines = self.console.lines().map(|line| line.rsplit('\u{1b}').next().unwrap_or(line));
        let lines = lines.map(|line| line.trim_start_matches("[2J"));
        let of_init = lines.filter(|line| !line.starts_with('[') && !line.contains("SeaBIOS"));
        of_init
            .filter(|line| !line.starts_with("Booting from"))
            .fold(String::new(), |said, line| said + line + "\n")
    }

    /// The line that says how it went; none if the machine did not come so far.
    pub(crate) fn verdict(&self) -> Option<&str> {
        self.console.lines().find_map(|line| line.split_once(VERDICT)).map(|(_, verdict)| verdict.trim())
    }

    /// For when it did not.
    pub(crate) fn last_words(&self) -> String {
        let lines: Vec<&str> = self.console.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn result(&self, name: &str) -> PathBuf {
        self.folder.join("results").join(name)
    }
}

/// Boots, waits for the power-off, and unpacks the results into `folder`.
pub(crate) fn boot(kernel: &Path, initramfs: &Path, folder: &Path) -> Result<Ran> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let results = folder.join("results");
    fs::create_dir_all(&results)?;
    let (console, archive) = (folder.join("console"), folder.join("results.tar"));
    let to_file = |path: &Path| format!("file:{}", path.display());

    let begun = Instant::now();
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            MEMORY,
            "-smp",
            PROCESSORS,
            "-nic",
            "none",
            "-no-reboot",
        ])
        .args(["-display", "none", "-monitor", "none"])
        .args(["-serial", &to_file(&console), "-serial", &to_file(&archive)])
        .args([Path::new("-kernel"), kernel, Path::new("-initrd"), initramfs])
        // A panic ends the machine at once, as -no-reboot takes the reboot for an end.
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let status = loop {
        if let Some(status) = machine.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            machine.kill()?;
            machine.wait()?;
            bail!(
                "the machine did not turn itself off in {PATIENCE:?}; its console is {}",
                console.display()
            );
        }
        thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("qemu-system-x86_64 failed ({status})");
    }
    let took = begun.elapsed();
    let said = fs::read(&console).with_context(|| format!("no {}", console.display()))?;
    let ran = Ran { folder: folder.to_owned(), console: String::from_utf8_lossy(&said).into_owned(), took };
    // None where it did not come so far, and the verdict says so.
    if ran.verdict().is_some() {
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&results))?;
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(console: &str) -> Ran {
        Ran { folder: PathBuf::new(), console: console.to_owned(), took: Duration::ZERO }
    }

    #[test]
    fn the_verdict_is_found_on_a_console_with_other_lines() {
        let ran = ran(
            "\u{1b}[2JSeaBIOS\r\nattached: 5\r\nleaktrace-kernel-test: OK on 6.1.0\r\n[ 6.5] reboot: Power down\r\n",
        );
        assert_eq!(ran.verdict(), Some("OK on 6.1.0"));
        assert_eq!(ran.said(), "attached: 5\nleaktrace-kernel-test: OK on 6.1.0\n");
    }

    #[test]
    fn a_machine_that_panicked_has_no_verdict() {
        let ran = ran("[ 1.0] Kernel panic - not syncing: no init\r\n");
        assert_eq!(ran.verdict(), None);
        assert!(ran.last_words().contains("panic"));
    }
}
