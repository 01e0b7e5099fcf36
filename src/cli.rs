//! The command line: what may be typed, and which subcommand does it.

mod check;
mod completions;
mod diff;
mod fates;
mod find;
mod hold;
mod ledger;
mod output;
mod plan;
mod progress;
mod prune;
mod restore;
mod run;
mod session;
mod signals;
mod snapshots;
mod status;
mod trees;
mod verify;

use crate::clock::Clock;
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Exit code of a command that could not start.
const CANNOT_START: u8 = 2;

/// Pulls backups of a fleet of Linux hosts into ZFS.
///
/// For each host: run its own hook scripts over ssh, copy it with rsync, take a
/// snapshot, remove snapshots that no retention tier claims any more, and tell
/// Icinga how it went.
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
    /// Back up hosts; the word may be left out.
    Run(run::Arguments),
    /// Show what a run would do, and do nothing.
    Plan(plan::Arguments),
    /// Show how every host is doing.
    Status(status::Arguments),
    /// List a host's snapshots.
    Snapshots(snapshots::Arguments),
    /// Find the versions of a host's files in its snapshots.
    Find(find::Arguments),
    /// Show what changed between two snapshots of a host.
    Diff(diff::Arguments),
    /// Give files of a snapshot back.
    Restore(restore::Arguments),
    /// Keep a snapshot until it is released.
    Hold(hold::Hold),
    /// Let rotation have a held snapshot again.
    Release(hold::Release),
    /// Remove the snapshots that no retention tier claims.
    Prune(prune::Arguments),
    /// Compare files on hosts with their newest snapshots.
    Verify(verify::Arguments),
    /// Look whether everything that a run needs is there and right.
    Check(check::Arguments),
    /// Print the completions of a shell, or the manual pages.
    Completions(completions::Arguments),
}

/// Does what the command line says. `clock` shows the time of the command.
pub fn main(clock: Clock) -> ExitCode {
    let code = match meant(Cli::parse()) {
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
        Command::Prune(arguments) => prune::execute(&arguments, clock),
        Command::Verify(arguments) => verify::execute(&arguments, clock),
        Command::Check(arguments) => check::execute(&arguments, clock),
        Command::Completions(arguments) => completions::execute(&arguments),
    }
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
    let is_command =
        |word: &&String| Cli::command().find_subcommand(word.as_str()).is_some_and(|_| *word != "run");
    match arguments.hosts.iter().find(is_command) {
        Some(word) => Err(format!(
            "`{word}` is the name of a command, which stands first: backup {word} …\n\
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
