//! `backup completions SHELL|man`: what a shell completes, and the manual
//! pages, both made from the definitions of the command line.

use clap::{CommandFactory, ValueEnum};
use std::io;
use std::path::PathBuf;

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell; `man` writes the manual pages.
    #[arg(value_enum)]
    kind: Kind,
    /// Where the manual pages go, a file each.
    #[arg(value_name = "DIR", required_if_eq("kind", "man"))]
    directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bash,
    Elvish,
    Fish,
    Zsh,
    Man,
}

pub(super) fn execute(arguments: &Arguments) -> u8 {
    match write(arguments) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("error: {error}");
            super::CANNOT_START
        }
    }
}

fn write(arguments: &Arguments) -> io::Result<()> {
    use clap_complete::Shell;
    let mut command = super::Cli::command();
    let shell = match arguments.kind {
        Kind::Bash => Shell::Bash,
        Kind::Elvish => Shell::Elvish,
        Kind::Fish => Shell::Fish,
        Kind::Zsh => Shell::Zsh,
        Kind::Man => {
            let directory = arguments.directory.clone().unwrap_or_default();
            return clap_mangen::generate_to(command, &directory).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot write manual pages into `{}`: {error}", directory.display()),
                )
            });
        }
    };
    // Made in memory first: the crate panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "backup", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)
}
