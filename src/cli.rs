//! The command line: what may be typed, and which subcommand does it.

mod progress;
mod run;
mod signals;

use crate::clock::Clock;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit code of a run that could not start.
const CANNOT_START: u8 = 2;

/// Words that later versions will understand as commands. A host of such a
/// name is reached with `backup run NAME` already now, so that no cron line
/// changes its meaning one day.
const RESERVED: [&str; 12] = [
    "plan",
    "prune",
    "status",
    "snapshots",
    "find",
    "diff",
    "restore",
    "hold",
    "release",
    "verify",
    "check",
    "completions",
];

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
}

/// Does what the command line says. `clock` shows the time of the run.
pub fn main(clock: Clock) -> ExitCode {
    match meant(Cli::parse()) {
        Ok(arguments) => ExitCode::from(run::execute(arguments, clock)),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// What to run; or why that would be something else one day.
fn meant(cli: Cli) -> Result<run::Arguments, String> {
    let mut arguments = match cli.command {
        Some(Command::Run(arguments)) => return Ok(arguments),
        None => cli.run,
    };
    // After an option clap takes the command for a host.
    if arguments.hosts.len() > 1 && arguments.hosts[0] == "run" {
        arguments.hosts.remove(0);
        return Ok(arguments);
    }
    match arguments.hosts.iter().find(|word| RESERVED.contains(&word.as_str())) {
        Some(word) => Err(format!(
            "`{word}` is the name of a command that this version does not have yet\n\
             \n  to back up a host of that name: backup run {word}"
        )),
        None => Ok(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_word_run_may_be_left_out() {
        let short = Cli::try_parse_from(["backup", "--quiet", "all"]).unwrap();
        assert_eq!(short.run.hosts, ["all"]);
        let long = Cli::try_parse_from(["backup", "run", "-q", "plan"]).unwrap();
        assert!(matches!(long.command, Some(Command::Run(run)) if run.hosts == ["plan"] && run.quiet));
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
            assert_eq!(meant(cli).unwrap().hosts, hosts, "{reason}");
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
                    let arguments = cli.command.map_or(cli.run, |Command::Run(run)| run);
                    arguments.check().is_err()
                }
            };
            assert!(refused, "{words:?}");
        }
    }
}
