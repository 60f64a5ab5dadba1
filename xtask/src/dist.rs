//! `cargo xtask dist`: what a package has beside the program, made from its command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use leaktrace::cli::Args;

use crate::checkout::Checkout;

const NAME: &str = "leaktrace";

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let folder = checkout.target().join("dist");
    for file in write(&folder)? {
        println!("{}", file.display());
    }
    println!(
        "Completions go where the shell looks for them (bash: /usr/share/bash-completion/completions/{NAME}), \
         man pages to /usr/share/man/man1"
    );
    Ok(())
}

/// Returns what was written.
fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let [completions, pages] = ["completions", "man"].map(|name| folder.join(name));
    for folder in [&completions, &pages] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut files = Vec::new();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        files.push(generate_to(shell, &mut Args::command(), NAME, &completions)?);
    }
    clap_mangen::generate_to(Args::command(), &pages)?;
    for entry in fs::read_dir(&pages)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::answer;

    #[test]
    fn bash_takes_the_completions_and_the_pages_have_every_option() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path()).unwrap();
        let named = |name: &str| {
            let file = files.iter().find(|file| file.ends_with(name));
            file.unwrap_or_else(|| panic!("no {name} among {files:?}"))
        };
        let ask = format!(
            "source {} && COMP_WORDS=(leaktrace --bud) COMP_CWORD=1 && _leaktrace leaktrace --bud leaktrace && \
             echo ${{COMPREPLY[@]}}",
            named("leaktrace.bash").display()
        );
        let said = answer(std::process::Command::new("bash").args(["-c", &ask])).unwrap();
        assert_eq!(said, "--budget");
        let page = fs::read_to_string(named("leaktrace.1")).unwrap();
        let options = Args::command();
        for option in options.get_arguments().filter(|option| !option.is_hide_set()) {
            if let Some(long) = option.get_long() {
                // A hyphen is written so that it can be searched for.
                assert!(page.contains(&long.replace('-', "\\-")), "--{long}");
            }
        }
        assert!(page.contains("Exit codes"), "{page}");
        named("leaktrace-report.1");
        named("_leaktrace");
    }
}
