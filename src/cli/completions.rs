//! `backup completions`: what a shell completes, and the manual pages, both
//! made from the definitions of the command line.
//!
//! The scripts of bash, fish and zsh ask this program for the words that may
//! stand at the cursor (`backup __complete`), names of hosts among them; so
//! they never lag behind. Whatever goes wrong there, nothing is offered, and
//! nobody's command line is written over.

mod engine;
mod manual;

use super::CANNOT_START;
use crate::app::session;
use crate::core::format::text::printable;
use crate::sys::clock::Clock;
use chrono::{DateTime, NaiveDate};
use clap::{CommandFactory, ValueEnum};
use engine::Wanted;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// When the sources are from, in seconds since 1970: see
/// <https://reproducible-builds.org/specs/source-date-epoch/>.
const BUILD_TIME: &str = "SOURCE_DATE_EPOCH";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    backup completions bash >/etc/bash_completion.d/backup\n  \
    backup completions fish >/etc/fish/vendor_completions.d/backup.fish\n  \
    backup completions zsh >/usr/local/share/zsh/site-functions/_backup\n  \
    backup completions man /usr/local/share/man/man8\n\n\
    Exit status: 0 if everything was written, 2 if not.\n\n\
    Notes: `make install` puts all of them in place. Host names are completed from the configuration and the \
    last good list of NetBox, without contacting it, for users who may read the configuration.")]
pub(super) struct Arguments {
    /// The shell to print completions for, or `man` to write the manual pages.
    #[arg(value_enum)]
    kind: Kind,
    /// Directory to write the manual pages to.
    #[arg(value_name = "DIR", required_if_eq("kind", "man"))]
    directory: Option<PathBuf>,
}

/// A command line that is being typed.
#[derive(Debug, clap::Args)]
pub(super) struct Typed {
    /// The words after the program's name, up to the one at the cursor.
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bash,
    Elvish,
    Fish,
    Zsh,
    Man,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    let done = match (arguments.kind, &arguments.directory) {
        (Kind::Man, Some(directory)) => {
            date_of_build(std::env::var_os(BUILD_TIME), clock).and_then(|date| write_pages(directory, date))
        }
        (kind, None) => print(&script(kind)),
        (_, Some(_)) => Err("only the manual pages go into a folder; a script is printed".to_owned()),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            CANNOT_START
        }
    }
}

/// Prints what may stand at the cursor, a line each: the word, a tab, what it
/// is. A line without a word stands for the names of files.
pub(super) fn complete(typed: &Typed) -> u8 {
    let words: Vec<String> = typed.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Wanted { words: mut candidates, hosts, files, begin } = engine::wanted(super::Cli::command(), &words);
    if hosts {
        let known = known_hosts(&words);
        let fits = |name: &String| name.to_lowercase().starts_with(&begin.to_lowercase());
        candidates.extend(known.into_iter().filter(fits).map(|name| (name, "host".to_owned())));
    }
    let mut text = String::new();
    for (word, help) in candidates {
        let _ = writeln!(text, "{}\t{}", printable(&word), printable(&help));
    }
    if files {
        text.push_str("\tfiles\n");
    }
    let _ = print(text.as_bytes());
    0
}

/// The names of hosts as far as they are known without asking anybody.
fn known_hosts(words: &[String]) -> Vec<String> {
    let mut given = words.iter().zip(words.iter().skip(1)).filter(|(option, _)| *option == "--config");
    let given = given.next().map(|(_, path)| Path::new(path));
    let mut names = session::remembered_hosts(given);
    names.push("all".to_owned());
    names
}

/// A shell's script.
fn script(kind: Kind) -> Vec<u8> {
    let text = match kind {
        Kind::Bash => include_str!("completions/backup.bash"),
        Kind::Fish => include_str!("completions/backup.fish"),
        Kind::Zsh => include_str!("completions/backup.zsh"),
        Kind::Elvish | Kind::Man => {
            let mut script = Vec::new();
            let mut command = super::Cli::command();
            clap_complete::generate(clap_complete::Shell::Elvish, &mut command, "backup", &mut script);
            return script;
        }
    };
    text.as_bytes().to_vec()
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that goes away has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to stdout: {error}"))
        }
        _ => Ok(()),
    }
}

/// The date of what is built: today, or the one that the builder of a package
/// gives so that the same sources make the same files.
fn date_of_build(given: Option<OsString>, clock: Clock) -> Result<NaiveDate, String> {
    let Some(given) = given else { return Ok(clock.start().date_naive()) };
    let time = given.to_str().and_then(|given| given.parse().ok());
    let date = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    date.map(|time| time.date_naive()).ok_or_else(|| {
        let given = printable(&given.to_string_lossy());
        format!("{BUILD_TIME} is `{given}`, which is not a number of seconds since 1970")
    })
}

fn write_pages(directory: &Path, date: NaiveDate) -> Result<(), String> {
    for (name, page) in manual::pages(super::Cli::command(), date) {
        let path = directory.join(name);
        std::fs::write(&path, page).map_err(|error| {
            format!("cannot write the manual page `{}`: {error}", printable(&path.to_string_lossy()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;

    /// Everything that is said on the command line is a manual page too.
    #[test]
    fn every_command_and_every_option_says_what_it_is() {
        let mut root = Cli::command();
        root.build();
        for command in std::iter::once(&root).chain(root.get_subcommands()).filter(|c| !c.is_hide_set()) {
            let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
            assert!(command.get_about().is_some(), "{name} does not say what it does");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 4, "`{}` of {name} does not say what it does", argument.get_id());
            }
        }
    }

    #[test]
    fn the_date_of_the_pages_is_that_of_the_build() {
        let clock = Clock::starting_at("2026-11-20T02:00:05Z".parse().unwrap());
        let date = |given: Option<&str>| date_of_build(given.map(OsString::from), clock);
        assert_eq!(date(None).unwrap().to_string(), "2026-11-20");
        assert_eq!(date(Some("0")).unwrap().to_string(), "1970-01-01");
        assert_eq!(
            date(Some("today")).unwrap_err(),
            "SOURCE_DATE_EPOCH is `today`, which is not a number of seconds since 1970"
        );
    }

    #[test]
    fn the_scripts_ask_this_program() {
        for kind in [super::Kind::Bash, super::Kind::Fish, super::Kind::Zsh] {
            let script = String::from_utf8(super::script(kind)).unwrap();
            assert!(script.contains("__complete -- "), "{kind:?}");
        }
        assert!(!super::script(super::Kind::Elvish).is_empty());
    }
}
