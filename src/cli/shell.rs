//! What a shell and `man` want to know of the program: `ckaad completions`, `ckaad man`.

use super::options::print;
use crate::output::write_atomically;
use crate::{Error, Result};
use clap::Command;
use std::path::PathBuf;

/// Print a script that completes ckaad's commands and flags in a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad completions bash > ~/.local/share/bash-completion/completions/ckaad
  ckaad completions zsh > ~/.zfunc/_ckaad
  ckaad completions fish > ~/.config/fish/completions/ckaad.fish")]
pub struct CompletionsArgs {
    shell: clap_complete::Shell,
}

/// Print the manual page, or write those of all commands into a folder
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad man | man -l -
  ckaad man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Folder for ckaad.1, ckaad-train.1 and so on
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "ckaad", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(true)
}

pub fn man(args: &ManArgs, mut command: Command) -> Result<bool> {
    let page = |command: Command| {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text).map_err(|e| Error::io("(manual page)", e))?;
        Ok::<_, Error>(text)
    };
    let Some(folder) = &args.out else {
        print(&String::from_utf8_lossy(&page(command)?))?;
        return Ok(true);
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    command.build();
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        // Built, so that this is `ckaad-weights-fetch`, of which only the first two are commands of their own.
        let name = command.get_display_name().unwrap_or("ckaad").to_string();
        open.extend(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
        let text = page(command)?;
        write_atomically(&folder.join(format!("{name}.1")), |f| f.write_all(&text))?;
    }
    Ok(true)
}
