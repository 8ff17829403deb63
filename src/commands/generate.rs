//! `oxdaas generate`: shell completions and man pages, from the commands themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap_complete::Shell;

/// The options of `generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    /// The directory to write `completions/` and `man/` into; created if missing
    dir: PathBuf,
}

/// Writes the files for `command`, which is the whole command line; 0: written, 1: not.
pub fn generate(args: &GenerateArgs, command: clap::Command) -> ExitCode {
    match write(&args.dir, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oxdaas: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path, mut command: clap::Command) -> io::Result<()> {
    let completions = dir.join("completions");
    let man = dir.join("man");
    fs::create_dir_all(&completions)?;
    fs::create_dir_all(&man)?;
    // Before the completions, which add the subcommand `help` and its own subcommands.
    clap_mangen::generate_to(command.clone(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "oxdaas", &completions)?;
    }
    Ok(())
}
