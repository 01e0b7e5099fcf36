//! The command line: what may be typed, and which subcommand does it.

mod check;
mod completions;
mod diff;
mod find;
mod hold;
mod output;
mod plan;
mod progress;
mod prune;
mod rename;
mod restore;
mod retire;
mod rotation_report;
mod run;
mod session;
mod signals;
mod snapshots;
mod status;
mod verify;

use crate::app::roles;
use crate::core::format::text;
use crate::sys::clock::Clock;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code of a command that could not start.
const CANNOT_START: u8 = 2;

/// Pull backups of a fleet of Linux hosts into ZFS.
///
/// For each host: run its hook scripts over SSH, copy it with rsync, take a
/// snapshot, remove the snapshots that no retention tier needs any more, and
/// report the result to Icinga.
#[derive(Debug, Parser)]
#[command(
    name = "backup",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 if every host is good, 1 if one is not, 2 if nothing could start.\n\
                  The configuration is --config FILE, $BACKUP_CONFIG or /etc/backup/config.toml."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up hosts; the word `run` may be left out.
    #[command(after_help = run::HELP)]
    Run(run::Arguments),
    /// Show what a run would do, without doing it.
    Plan(plan::Arguments),
    /// Show the state of each host.
    Status(status::Arguments),
    /// List the snapshots of a host.
    Snapshots(snapshots::Arguments),
    /// Find versions of files in the snapshots of a host.
    Find(find::Arguments),
    /// Show what changed between two snapshots.
    Diff(diff::Arguments),
    /// Restore files from a snapshot.
    Restore(restore::Arguments),
    /// Keep a snapshot until it is released.
    Hold(hold::Hold),
    /// Release a held snapshot.
    Release(hold::Release),
    /// Acknowledge that hosts have left the inventory.
    Retire(retire::Arguments),
    /// Give a host's copies and history another name.
    Rename(rename::Arguments),
    /// Remove the snapshots that no retention tier needs.
    Prune(prune::Arguments),
    /// Compare files on hosts with their newest snapshots.
    ///
    /// Files of the newest good snapshot of each host are chosen at random, and
    /// rsync compares them with the host. Files that were changed or removed
    /// since the snapshot, as their size or time shows, are no error. Nothing is
    /// written on either side.
    Verify(verify::Arguments),
    /// Check that everything a run needs is in place.
    Check(check::Arguments),
    /// Print shell completions, or write the manual pages.
    Completions(completions::Arguments),
    /// Print the help of a command.
    Help(Help),
    /// Say what may stand at the cursor; for the scripts of shells.
    #[command(name = "__complete", hide = true)]
    Complete(completions::Typed),
}

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if the help was printed, 2 if there is no such command.")]
struct Help {
    /// The command; without one, all of them are listed.
    command: Option<String>,
}

/// Words that other programs have for what a command does here.
const ALSO_KNOWN_AS: [(&str, &[&str]); 16] = [
    ("list", &["status", "snapshots"]),
    ("ls", &["status", "snapshots"]),
    ("show", &["status", "snapshots"]),
    ("history", &["status", "snapshots"]),
    ("log", &["status"]),
    ("search", &["find"]),
    ("locate", &["find"]),
    ("recover", &["restore"]),
    ("get", &["restore"]),
    ("keep", &["hold"]),
    ("forget", &["prune"]),
    ("rotate", &["prune"]),
    ("mv", &["rename"]),
    ("move", &["rename"]),
    ("doctor", &["check"]),
    ("test", &["check", "verify"]),
];

/// The commands that a word may mean which is none.
fn commands_like(word: &str) -> Vec<String> {
    let lower = word.to_lowercase();
    if let Some((_, commands)) = ALSO_KNOWN_AS.iter().find(|(known, _)| *known == lower) {
        return commands.iter().map(|command| (*command).to_owned()).collect();
    }
    let names: Vec<String> = Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    crate::core::format::similar::nearest(&lower, names.iter().map(String::as_str))
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Prints the help of a command, or of all.
fn help(asked: Option<&str>) -> u8 {
    let mut root = Cli::command();
    root.build();
    let command = match asked {
        None => Some(&mut root),
        Some(word) => root.find_subcommand_mut(word),
    };
    let Some(command) = command else {
        let word = asked.unwrap_or_default();
        let like: Vec<String> = commands_like(word).iter().map(|name| format!("`{name}`")).collect();
        let advice = match like.as_slice() {
            [] => "`backup help` lists the commands".to_owned(),
            like => format!("did you mean {}?", like.join(" or ")),
        };
        eprintln!("error: there is no command `{}`; {advice}", text::printable(word));
        return CANNOT_START;
    };
    match command.print_long_help() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to stdout: {error}");
            CANNOT_START
        }
        _ => 0,
    }
}

/// Does what the command line says. `clock` shows the time of the command.
pub fn main(clock: Clock) -> ExitCode {
    // Before anything else, for it is started once a host.
    if let Some(code) = roles::play(std::env::args_os) {
        return ExitCode::from(code);
    }
    let code = match meant(Cli::parse_from(in_order(std::env::args_os().collect()))) {
        Ok(command) => execute(command, clock),
        Err(why) => {
            eprintln!("error: {why}");
            CANNOT_START
        }
    };
    ExitCode::from(code)
}

fn execute(command: Command, clock: Clock) -> u8 {
    match command {
        Command::Run(arguments) => run::execute(arguments, clock),
        Command::Plan(arguments) => plan::execute(&arguments, clock),
        Command::Status(arguments) => status::execute(&arguments, clock),
        Command::Snapshots(arguments) => snapshots::execute(&arguments, clock),
        Command::Find(arguments) => find::execute(&arguments, clock),
        Command::Diff(arguments) => diff::execute(&arguments, clock),
        Command::Restore(arguments) => restore::execute(&arguments, clock),
        Command::Hold(arguments) => hold::hold(&arguments, clock),
        Command::Release(arguments) => hold::release(&arguments, clock),
        Command::Retire(arguments) => retire::execute(&arguments, clock),
        Command::Rename(arguments) => rename::execute(&arguments, clock),
        Command::Prune(arguments) => prune::execute(&arguments, clock),
        Command::Verify(arguments) => verify::execute(&arguments, clock),
        Command::Check(arguments) => check::execute(&arguments, clock),
        Command::Completions(arguments) => completions::execute(&arguments, clock),
        Command::Help(Help { command }) => help(command.as_deref()),
        Command::Complete(typed) => completions::complete(&typed),
    }
}

/// The words with the command in front where options that every command has
/// stand before it, as in `backup --quiet status`: clap would take it for a
/// host.
fn in_order(mut words: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        at += match word.to_str() {
            Some("-q" | "--quiet" | "-v" | "--verbose") => 1,
            Some("--config") => 2,
            Some(word) if word.starts_with("--config=") => 1,
            _ => break,
        };
    }
    if at > 1 && words.get(at).and_then(|word| word.to_str()).is_some_and(is_command) {
        words[1..=at].rotate_right(1);
    }
    words
}

/// Whether a word is a command's name; `run` may be left out, and is none.
fn is_command(word: &str) -> bool {
    word != "run" && Cli::command().find_subcommand(word).is_some()
}

/// The command that is meant; or why it could be one as well as a host.
fn meant(cli: Cli) -> Result<Command, String> {
    let mut arguments = match cli.command {
        Some(command) => return Ok(command),
        None => cli.run,
    };
    // After an option clap takes the command for a host.
    if arguments.hosts.len() > 1 && arguments.hosts[0] == "run" {
        arguments.hosts.remove(0);
        return Ok(Command::Run(arguments));
    }
    match arguments.hosts.iter().find(|word| is_command(word)) {
        Some(word) => Err(format!(
            "`{word}` is a command, and a command comes first: backup {word} …\n\
             \n  to back up a host of that name: backup run {word}"
        )),
        None => Ok(Command::Run(arguments)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_word_run_may_be_left_out() {
        let short = Cli::try_parse_from(["backup", "--quiet", "all"]).unwrap();
        assert_eq!(short.run.hosts, ["all"]);
        let long = Cli::try_parse_from(["backup", "run", "-q", "plan"]).unwrap();
        assert!(matches!(long.command, Some(Command::Run(run)) if run.hosts == ["plan"] && run.common.quiet));
    }

    #[test]
    fn options_may_stand_before_the_word_run() {
        for (words, hosts, reason) in [
            (&["backup", "-q", "run", "all"][..], &["all"][..], "the command, not a host"),
            (&["backup", "-q", "run", "plan"], &["plan"], "after it, anything is a host"),
            (&["backup", "-q", "run"], &["run"], "nothing comes after it: a host of that name"),
            (&["backup", "-q", "web", "run"], &["web", "run"], "a command stands first"),
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            let command = meant(cli).unwrap();
            assert!(matches!(&command, Command::Run(run) if run.hosts == hosts), "{reason}: {command:?}");
        }
    }

    #[test]
    fn options_of_all_may_stand_before_any_command() {
        for (words, ordered) in [
            ("backup --config x -q status --json", "backup status --config x -q --json"),
            ("backup --config=x status status", "backup status --config=x status"),
            ("backup --config status status", "backup status --config status"),
            ("backup -v all", "backup -v all"),
            ("backup --jobs 3 status", "backup --jobs 3 status"),
            ("backup -q run all", "backup -q run all"),
            ("backup status", "backup status"),
            ("backup --config", "backup --config"),
            ("backup", "backup"),
        ] {
            let words = words.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = ordered.split(' ').map(OsString::from).collect();
            assert_eq!(in_order(words), expected);
        }
    }

    #[test]
    fn a_word_that_is_no_command_is_offered_those_that_may_be_meant() {
        for (word, expected, why) in [
            ("snapshot", &["snapshots"][..], "a letter is missing"),
            ("Stauts", &["status"], "two letters changed places"),
            ("ls", &["status", "snapshots"], "another program's word"),
            ("vpn", &[], "a host, most likely"),
            ("__complete", &[], "not for people"),
        ] {
            assert_eq!(commands_like(word), expected, "{why}");
        }
        let commands: Vec<&str> = ALSO_KNOWN_AS.iter().flat_map(|(_, commands)| *commands).copied().collect();
        assert!(commands.iter().all(|command| is_command(command)), "{commands:?}");
        assert!(!ALSO_KNOWN_AS.iter().any(|(word, _)| is_command(word)), "a command means itself");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["backup"][..],
            &["backup", "run"],
            &["backup", "--jobs", "0", "all"],
            &["backup", "--force", "all"],
            &["backup", "--force", "vpn", "ALL"],
            &["backup", "--no-such-option", "vpn"],
        ] {
            let refused = match Cli::try_parse_from(words) {
                Err(_) => true,
                Ok(cli) => {
                    let Command::Run(arguments) = meant(cli).unwrap() else { panic!("{words:?}") };
                    arguments.check().is_err()
                }
            };
            assert!(refused, "{words:?}");
        }
    }
}
